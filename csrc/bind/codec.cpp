#include "bind.h"
#include "codec_lz4.h"
#include "errors.h"
#include "filter.h"

namespace fastload::bind {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;

Bytes compress(const Bytes& raw, int level) {
  const auto raw_bytes = static_cast<size_t>(raw.size());
  Bytes stored(static_cast<py::ssize_t>(lz4_bound(raw_bytes)));
  const size_t size =
      lz4_compress(raw.data(), raw_bytes, stored.mutable_data(), static_cast<size_t>(stored.size()), level);
  stored.resize({static_cast<py::ssize_t>(size)});
  return stored;
}

Bytes decompress(const Bytes& stored, size_t raw_bytes) {
  Bytes raw(static_cast<py::ssize_t>(raw_bytes));
  if (!lz4_decompress(stored.data(), static_cast<size_t>(stored.size()), raw.mutable_data(), raw_bytes))
    fail(Cause::format, "LZ4: the bytes do not decode to " + std::to_string(raw_bytes) + " bytes");
  return raw;
}

template <void (*apply)(const uint8_t*, uint8_t*, size_t, size_t)>
Bytes filter(const Bytes& from, size_t element_bytes) {
  Bytes to(from.size());
  apply(from.data(), to.mutable_data(), static_cast<size_t>(from.size()), element_bytes);
  return to;
}

}  // namespace

void register_codec(py::module_& module) {
  module.def("lz4_compress", &compress, py::arg("raw"), py::arg("level") = 0);
  module.def("lz4_decompress", &decompress, py::arg("stored"), py::arg("raw_bytes"));
  module.def("byte_shuffle", &filter<byte_shuffle>, py::arg("plain"), py::arg("element_bytes"));
  module.def("byte_unshuffle", &filter<byte_unshuffle>, py::arg("shuffled"), py::arg("element_bytes"));
}

}  // namespace fastload::bind
