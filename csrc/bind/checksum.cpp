#include "checksum.h"

#include "bind.h"

namespace fastload::bind {

void register_checksum(py::module_& module) {
  module.def("crc32c", [](const py::buffer& data) {
    const py::buffer_info info = data.request();
    return crc32c(info.ptr, static_cast<size_t>(info.size * info.itemsize));
  });
  module.def("crc32c_portable", [](const py::buffer& data) {
    const py::buffer_info info = data.request();
    return crc32c_portable(info.ptr, static_cast<size_t>(info.size * info.itemsize));
  });
}

}  // namespace fastload::bind
