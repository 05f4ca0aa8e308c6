#include "shard_reader.h"

#include "bind.h"

namespace fastload::bind {
namespace {

py::dict dictionaries(const ShardReader& self) {
  py::dict out;
  for (const Dictionary& dictionary : self.layout().dictionaries) {
    py::list entries;
    for (const std::string& entry : dictionary.entries) entries.append(py::bytes(entry));
    out[py::int_(dictionary.field)] = entries;
  }
  return out;
}

py::dict class_counts(const ShardReader& self) {
  py::dict out;
  for (const ClassCounts& counts : self.layout().class_counts)
    out[py::int_(counts.field)] = py::make_tuple(counts.values, counts.rows);
  return out;
}

// [blocks, columns of all fields] records of 64 bytes, as stored
py::array statistics(const ShardReader& self) {
  const auto& records = self.layout().statistics;
  const auto columns = static_cast<py::ssize_t>(stat_columns(self.layout().fields));
  const auto blocks = static_cast<py::ssize_t>(columns ? records.size() / static_cast<size_t>(columns) : 0);
  py::array_t<uint8_t> out({blocks, columns, static_cast<py::ssize_t>(sizeof(StatRecord))});
  if (!records.empty()) std::memcpy(out.mutable_data(), records.data(), records.size() * sizeof(StatRecord));
  return out;
}

// per field: (stored bytes, raw bytes, chunks stored raw, chunks byte-shuffled)
py::list sizes(const ShardReader& self) {
  py::list out;
  const Layout& layout = self.layout();
  for (size_t f = 0; f < layout.fields.size(); ++f) {
    uint64_t stored = 0, raw = 0, raw_chunks = 0, shuffled = 0;
    for (size_t b = 0; b < layout.block_rows.size(); ++b) {
      const ChunkEntry& chunk = layout.chunk(b, f);
      stored += chunk.stored_bytes;
      raw += chunk.raw_bytes;
      raw_chunks += chunk.codec == Codec::raw;
      shuffled += chunk.filter == Filter::byte_shuffle;
    }
    out.append(py::make_tuple(stored, raw, raw_chunks, shuffled));
  }
  return out;
}

// (offset, stored bytes) of every chunk in file order
py::list chunk_ranges(const ShardReader& self) {
  py::list out;
  for (const ChunkEntry& chunk : self.layout().chunks) out.append(py::make_tuple(chunk.offset, chunk.stored_bytes));
  return out;
}

void verify_block(const ShardReader& self, uint64_t block) {
  Buffer raw;
  LoadScratch scratch;
  for (size_t f = 0; f < self.layout().fields.size(); ++f) {
    if (raw.size_bytes() < self.layout().chunk(block, f).raw_bytes)
      raw = Buffer(self.layout().chunk(block, f).raw_bytes);
    self.decode(block, f, raw.data(), scratch);
    self.view(block, f, raw.data());
  }
  self.check_whole();
}

}  // namespace

void register_shard_reader(py::module_& module) {
  py::class_<ShardReader, std::shared_ptr<ShardReader>>(module, "ShardReader")
      .def(py::init<const std::string&>(), py::arg("path"))
      .def_property_readonly("path", [](const ShardReader& self) { return self.file().path(); })
      .def_property_readonly("rows", [](const ShardReader& self) { return self.layout().rows; })
      .def_property_readonly("file_bytes", [](const ShardReader& self) { return self.layout().file_bytes; })
      .def_property_readonly("file_id",
                             [](const ShardReader& self) {
                               return py::bytes(reinterpret_cast<const char*>(self.layout().file_id.data()),
                                                self.layout().file_id.size());
                             })
      .def_property_readonly("footer_crc32c", [](const ShardReader& self) { return self.layout().footer_crc32c; })
      .def_property_readonly("fields", [](const ShardReader& self) { return self.layout().fields; })
      .def_property_readonly("block_rows", [](const ShardReader& self) { return self.layout().block_rows; })
      .def("dictionaries", &dictionaries)
      .def("class_counts", &class_counts)
      .def("statistics", &statistics)
      .def("sizes", &sizes)
      .def("chunk_ranges", &chunk_ranges)
      .def(
          "verify_block",
          [](const ShardReader& self, uint64_t block) { without_gil([&] { verify_block(self, block); }); },
          py::arg("block"));
  py::class_<ShardSource, Source, std::shared_ptr<ShardSource>>(module, "ShardSource")
      .def(py::init([](const std::vector<std::shared_ptr<ShardReader>>& shards, std::vector<uint32_t> field_indices) {
             return std::make_shared<ShardSource>(
                 std::vector<std::shared_ptr<const ShardReader>>(shards.begin(), shards.end()),
                 std::move(field_indices));
           }),
           py::arg("shards"), py::arg("field_indices"));
}

}  // namespace fastload::bind
