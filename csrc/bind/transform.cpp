#include "transform.h"

#include <cstring>

#include "bind.h"
#include "errors.h"

namespace fastload::bind {
namespace {

std::vector<uint64_t> to_words(const py::bytes& bytes) {
  const auto view = static_cast<std::string_view>(bytes);
  std::vector<uint64_t> words((view.size() + 7) / 8);
  if (!view.empty()) std::memcpy(words.data(), view.data(), view.size());
  return words;
}

}  // namespace

void register_transform(py::module_& module) {
  py::class_<Kernel>(module, "Kernel")
      .def(py::init([](uintptr_t address, std::vector<int64_t> integers, const py::bytes& numbers,
                       uint64_t out_row_bytes, std::string refusal) {
             return Kernel{reinterpret_cast<KernelFunction>(address), std::move(integers), to_words(numbers),
                           out_row_bytes, std::move(refusal)};
           }),
           py::arg("address"), py::arg("integers"), py::arg("numbers"), py::arg("out_row_bytes"), py::arg("refusal"));
  py::class_<BatchColumn>(module, "BatchColumn")
      .def(py::init<FieldSpec, uint32_t, std::vector<Kernel>>(), py::arg("field"), py::arg("source"),
           py::arg("kernels"));
  py::class_<BatchColumns, std::shared_ptr<BatchColumns>>(module, "BatchColumns")
      .def(py::init<std::vector<BatchColumn>, bool>(), py::arg("columns"), py::arg("draws"));
  module.def(
      "transform_rows",
      [](const std::vector<Kernel>& kernels, const py::buffer& in, const py::object& valid, const py::object& keys,
         uint64_t rows, const py::buffer& out, unsigned threads) {
        const py::buffer_info from = in.request(), to = out.request(true);
        if (kernels.empty() || static_cast<uint64_t>(to.size * to.itemsize) != rows * kernels.back().out_row_bytes)
          fail(Cause::argument, "a chain of kernels, and memory for the rows that it makes, must be given");
        const Kernel* refused_by = nullptr;
        int64_t refused = 0;
        const uint64_t in_row_bytes = rows ? static_cast<uint64_t>(from.size * from.itemsize) / rows : 0;
        without_gil([&, valid = pointer_or_null<uint8_t>(valid), keys = pointer_or_null<uint64_t>(keys)] {
          refused = transform_rows(kernels, static_cast<const uint8_t*>(from.ptr), in_row_bytes, valid, keys, rows,
                                   static_cast<uint8_t*>(to.ptr), threads, &refused_by);
        });
        return py::make_tuple(refused, refused_by ? refused_by->refusal : std::string());
      },
      py::arg("kernels"), py::arg("values"), py::arg("valid"), py::arg("keys"), py::arg("rows"), py::arg("out"),
      py::arg("threads"));
}

}  // namespace fastload::bind
