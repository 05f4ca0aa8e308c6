#include "packing.h"

#include "bind.h"

namespace fastload::bind {
namespace {

using Lengths = py::array_t<int64_t, py::array::c_style>;

py::array_t<int64_t> to_array(const std::vector<int64_t>& values) {
  return py::array_t<int64_t>(static_cast<py::ssize_t>(values.size()), values.data());
}

}  // namespace

void register_packing(py::module_& module) {
  module.def(
      "count_packed_rows",
      [](const Lengths& lengths, uint32_t row_tokens, uint64_t pool_documents, std::optional<uint64_t> key) {
        std::vector<int64_t> rows;
        {
          py::gil_scoped_release release;
          rows =
              count_packed_rows(lengths.data(), static_cast<size_t>(lengths.size()), {row_tokens, pool_documents, key});
        }
        return to_array(rows);
      },
      py::arg("lengths"), py::arg("row_tokens"), py::arg("pool_documents"), py::arg("key"));
  module.def(
      "pack_pool",
      [](const Lengths& lengths, uint32_t row_tokens, uint64_t pool_documents, std::optional<uint64_t> key,
         uint64_t pool) {
        PackedPool packed;
        {
          py::gil_scoped_release release;
          packed =
              pack_pool(lengths.data(), static_cast<size_t>(lengths.size()), {row_tokens, pool_documents, key}, pool);
        }
        return py::make_tuple(to_array(packed.documents), to_array(packed.starts), to_array(packed.lengths),
                              to_array(packed.first_piece));
      },
      py::arg("lengths"), py::arg("row_tokens"), py::arg("pool_documents"), py::arg("key"), py::arg("pool"));
}

}  // namespace fastload::bind
