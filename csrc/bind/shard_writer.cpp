#include "shard_writer.h"

#include "bind.h"

namespace fastload::bind {
namespace {

// columns : per field (values, offsets or None, valid bytes or None); arrays are C-contiguous and of the right types
void append(ShardWriter& self, const py::list& columns, uint64_t rows) {
  std::vector<ColumnRows> out;
  for (const py::handle& handle : columns) {
    const auto column = handle.cast<py::tuple>();
    out.push_back({pointer_or_null<uint8_t>(column[0]), pointer_or_null<int64_t>(column[1]),
                   pointer_or_null<uint8_t>(column[2])});
  }
  without_gil([&] { self.append(out, rows); });
}

// dictionaries : {field index: [bytes, ...]}. Returns (rows, file bytes, footer crc32c).
py::tuple finish(ShardWriter& self, const std::map<uint32_t, std::vector<std::string>>& dictionaries,
                 const std::string& final_path) {
  std::vector<Dictionary> out;
  for (const auto& [field, entries] : dictionaries) out.push_back({field, entries});
  Layout layout;
  without_gil([&] { layout = self.finish(std::move(out), final_path); });
  return py::make_tuple(layout.rows, layout.file_bytes, layout.footer_crc32c);
}

}  // namespace

void register_shard_writer(py::module_& module) {
  py::enum_<WriteCodec>(module, "WriteCodec")
      .value("raw", WriteCodec::raw)
      .value("lz4", WriteCodec::lz4)
      .value("lz4hc", WriteCodec::lz4hc);
  py::class_<ShardWriter, std::shared_ptr<ShardWriter>>(module, "ShardWriter")
      .def(py::init([](const std::string& temporary_path, std::vector<FieldSpec> fields, const std::string& file_id,
                       WriteCodec codec, uint64_t block_bytes, unsigned threads) {
             FileId id{};
             std::copy_n(file_id.begin(), std::min(id.size(), file_id.size()), id.begin());
             return ShardWriter::create(temporary_path, std::move(fields), id,
                                        WriterOptions{codec, block_bytes, threads});
           }),
           py::arg("temporary_path"), py::arg("fields"), py::arg("file_id"), py::arg("codec"), py::arg("block_bytes"),
           py::arg("threads"))
      .def("append", &append, py::arg("columns"), py::arg("rows"))
      .def("finish", &finish, py::arg("dictionaries"), py::arg("final_path"))
      .def_property_readonly("size_bytes", &ShardWriter::size_bytes)
      .def_property_readonly("footer_estimate_bytes", &ShardWriter::footer_estimate_bytes)
      .def_property_readonly("rows", &ShardWriter::rows);
}

}  // namespace fastload::bind
