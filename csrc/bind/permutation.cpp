#include "permutation.h"

#include "bind.h"

namespace fastload::bind {

void register_permutation(py::module_& module) {
  module.def("mix64", py::vectorize(mix64), py::arg("values"));
  py::class_<Permutation>(module, "Permutation")
      .def(py::init<uint64_t, uint64_t>(), py::arg("size"), py::arg("key"))
      .def(
          "apply",
          [](const Permutation& self, uint64_t first, size_t count) {
            py::array_t<uint64_t> images(static_cast<py::ssize_t>(count));
            self.apply(first, 1, count, images.mutable_data());
            return images;
          },
          py::arg("first"), py::arg("count"));
}

}  // namespace fastload::bind
