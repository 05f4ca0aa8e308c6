#include "row_reader.h"

#include "bind.h"

namespace fastload::bind {

void register_row_reader(py::module_& module) {
  py::class_<ReadCosts>(module, "ReadCosts")
      .def(py::init())
      .def_property_readonly("counts", [](const ReadCosts& self) { return to_python(self); })
      .def(
          "note_places",
          [](ReadCosts& self, uint64_t elements, uint64_t places) {
            self.elements += elements;
            self.places += places;
          },
          py::arg("elements"), py::arg("places"));
  py::class_<RowReader, std::shared_ptr<RowReader>>(module, "RowReader")
      .def(py::init([](std::shared_ptr<Source> source, uint64_t memory_bytes) {
             return RowReader::create(source, memory_bytes);
           }),
           py::arg("source"), py::arg("memory_bytes"), py::keep_alive<1, 2>())
      .def(
          "read",
          [](RowReader& self, const py::array_t<uint64_t, py::array::c_style>& rows, const py::object& padding,
             ReadCosts* costs, std::shared_ptr<BatchColumns> columns, uint64_t draw_key) {
            const std::vector<Padding> paddings = to_padding(padding, self.fields().size());
            Batch batch;
            ReadCosts spent;
            without_gil([&] {
              batch = self.read(rows.data(), static_cast<size_t>(rows.size()), paddings, &spent, columns, draw_key);
            });
            if (costs) *costs += spent;  // under the GIL: others may add to it, too
            return to_python(batch, columns ? columns->fields() : self.fields());
          },
          py::arg("rows"), py::arg("padding") = true, py::arg("costs") = nullptr, py::arg("columns") = nullptr,
          py::arg("draw_key") = 0);
}

}  // namespace fastload::bind
