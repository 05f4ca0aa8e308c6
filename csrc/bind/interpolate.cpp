#include "interpolate.h"

#include "bind.h"
#include "errors.h"

namespace fastload::bind {

void register_interpolate(py::module_& module) {
  using Places = py::array_t<int64_t, py::array::c_style>;
  using Parts = py::array_t<double, py::array::c_style>;
  module.def(
      "interpolate_rows",
      [](uintptr_t address, const py::buffer& rows, const Places& bases, const Places& neighbors, const Parts& parts,
         const py::buffer& out, unsigned threads) {
        const py::buffer_info from = rows.request(), to = out.request(true);
        if (from.ndim != 2 || to.ndim != 2 || from.shape[1] != to.shape[1] || from.itemsize != to.itemsize ||
            bases.size() != to.shape[0] || neighbors.size() != to.shape[0] || parts.size() != to.shape[0])
          fail(Cause::argument,
               "rows to interpolate and those made must have as many columns of one type, and every "
               "row that is made a base, a neighbour and a part");
        const Interpolation what{static_cast<const uint8_t*>(from.ptr),
                                 static_cast<uint64_t>(from.shape[0]),
                                 static_cast<uint64_t>(from.shape[1]),
                                 static_cast<uint64_t>(from.itemsize),
                                 bases.data(),
                                 neighbors.data(),
                                 parts.data(),
                                 static_cast<uint64_t>(to.shape[0])};
        without_gil([&] {
          interpolate_rows(reinterpret_cast<InterpolateFunction>(address), what, static_cast<uint8_t*>(to.ptr),
                           threads);
        });
      },
      py::arg("address"), py::arg("rows"), py::arg("bases"), py::arg("neighbors"), py::arg("parts"), py::arg("out"),
      py::arg("threads"));
}

}  // namespace fastload::bind
