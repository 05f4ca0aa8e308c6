#include "packing.h"

#include "bind.h"
#include "errors.h"

namespace fastload::bind {
namespace {

using Lengths = py::array_t<int64_t, py::array::c_style>;

py::array_t<int64_t> to_array(const std::vector<int64_t>& values) {
  return py::array_t<int64_t>(static_cast<py::ssize_t>(values.size()), values.data());
}

// (values, documents, positions), each [rows, row_tokens].
py::tuple place(const py::array& values, const Lengths& offsets, const Lengths& starts, const Lengths& lengths,
                const Lengths& bins, uint64_t rows, uint64_t row_tokens, const py::bytes& fill) {
  const auto count = static_cast<size_t>(starts.size());
  const auto element_bytes = static_cast<size_t>(values.itemsize());
  if (static_cast<size_t>(offsets.size()) < count || static_cast<size_t>(lengths.size()) != count ||
      static_cast<size_t>(bins.size()) != count || std::string(fill).size() != element_bytes)
    fail(Cause::argument,
         "pieces need an offset, a start, a length and a row each, and places an element to fill them");
  const uint64_t places = rows * row_tokens;
  const auto out = std::make_shared<Buffer>(places * element_bytes);
  const auto documents = std::make_shared<Buffer>(places * sizeof(int32_t));
  const auto positions = std::make_shared<Buffer>(places * sizeof(int32_t));
  const std::string filler = fill;
  without_gil([&] {
    place_pieces(static_cast<const uint8_t*>(values.data()), static_cast<uint64_t>(values.size()), element_bytes,
                 reinterpret_cast<const uint8_t*>(filler.data()),
                 {offsets.data(), starts.data(), lengths.data(), bins.data(), count},
                 {rows, row_tokens, out->data(), reinterpret_cast<int32_t*>(documents->data()),
                  reinterpret_cast<int32_t*>(positions->data())});
  });
  const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(row_tokens)};
  const py::dtype numbers = py::dtype::of<int32_t>();
  return py::make_tuple(wrap(out, values.dtype(), shape), wrap(documents, numbers, shape),
                        wrap(positions, numbers, shape));
}

}  // namespace

void register_packing(py::module_& module) {
  module.def(
      "count_packed_rows",
      [](const Lengths& lengths, uint32_t row_tokens, uint64_t pool_documents, std::optional<uint64_t> key) {
        std::vector<int64_t> rows;
        without_gil([&] {
          rows =
              count_packed_rows(lengths.data(), static_cast<size_t>(lengths.size()), {row_tokens, pool_documents, key});
        });
        return to_array(rows);
      },
      py::arg("lengths"), py::arg("row_tokens"), py::arg("pool_documents"), py::arg("key"));
  module.def(
      "pack_pool",
      [](const Lengths& lengths, uint32_t row_tokens, uint64_t pool_documents, std::optional<uint64_t> key,
         uint64_t pool) {
        PackedPool packed;
        without_gil([&] {
          packed =
              pack_pool(lengths.data(), static_cast<size_t>(lengths.size()), {row_tokens, pool_documents, key}, pool);
        });
        return py::make_tuple(to_array(packed.documents), to_array(packed.starts), to_array(packed.lengths),
                              to_array(packed.first_piece));
      },
      py::arg("lengths"), py::arg("row_tokens"), py::arg("pool_documents"), py::arg("key"), py::arg("pool"));
  module.def("place_pieces", &place, py::arg("values"), py::arg("offsets"), py::arg("starts"), py::arg("lengths"),
             py::arg("bins"), py::arg("rows"), py::arg("row_tokens"), py::arg("fill"));
}

}  // namespace fastload::bind
