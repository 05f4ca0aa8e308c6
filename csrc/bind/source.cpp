#include "source.h"

#include "bind.h"

namespace fastload::bind {

MemorySource::Column to_column(const py::tuple& column) {
  MemorySource::Column out;
  out.field = column[0].cast<FieldSpec>();
  const auto values = column[1].cast<py::array>();
  out.rows.data = static_cast<const uint8_t*>(values.data());
  out.rows.stride_bytes = column[2].cast<uint64_t>();
  out.rows.offsets64 = pointer_or_null<int64_t>(column[3]);
  out.rows.validity = pointer_or_null<uint8_t>(column[4]);
  out.rows.elements = static_cast<uint64_t>(values.size());
  return out;
}

void register_source(py::module_& module) {
  py::class_<Source, std::shared_ptr<Source>>(module, "Source")
      .def_property_readonly("rows", &Source::rows)
      .def_property_readonly("decoded_bytes",
                             [](const Source& self) {
                               uint64_t bytes = 0;
                               for (uint32_t block = 0; block < self.block_rows().size(); ++block)
                                 bytes += self.decoded_bytes(block);
                               return bytes;
                             })
      .def_property_readonly("block_rows", &Source::block_rows);
  py::class_<MemorySource, Source, std::shared_ptr<MemorySource>>(module, "MemorySource")
      .def(py::init([](const py::list& columns, uint64_t rows) {
             std::vector<MemorySource::Column> out;
             for (const py::handle& column : columns) out.push_back(to_column(column.cast<py::tuple>()));
             return std::make_shared<MemorySource>(std::move(out), rows);
           }),
           py::arg("columns"), py::arg("rows"), py::keep_alive<1, 2>());
}

}  // namespace fastload::bind
