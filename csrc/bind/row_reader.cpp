#include "row_reader.h"

#include "bind.h"

namespace fastload::bind {

void register_row_reader(py::module_& module) {
  py::class_<RowReader, std::shared_ptr<RowReader>>(module, "RowReader")
      .def(py::init([](std::shared_ptr<Source> source, uint64_t memory_bytes) {
             return RowReader::create(source, memory_bytes);
           }),
           py::arg("source"), py::arg("memory_bytes"), py::keep_alive<1, 2>())
      .def(
          "read",
          [](RowReader& self, const py::array_t<uint64_t, py::array::c_style>& rows, const py::object& padding) {
            const std::vector<Padding> paddings = to_padding(padding, self.fields().size());
            Batch batch;
            without_gil([&] { batch = self.read(rows.data(), static_cast<size_t>(rows.size()), paddings); });
            return to_python(batch, self.fields());
          },
          py::arg("rows"), py::arg("padding") = true);
}

}  // namespace fastload::bind
