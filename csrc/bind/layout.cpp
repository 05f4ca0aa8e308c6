#include "layout.h"

#include "bind.h"

namespace fastload::bind {

constexpr int kNumpyFloat16 = 23;  // NPY_HALF, which pybind11 does not name

py::dtype numpy_dtype(Dtype dtype) {
  using Api = py::detail::npy_api;  // by number: a name would be parsed anew for every array
  static constexpr int kNumbers[kDtypes] = {Api::NPY_BOOL_,   Api::NPY_INT8_,  Api::NPY_INT16_,  Api::NPY_INT32_,
                                            Api::NPY_INT64_,  Api::NPY_UINT8_, Api::NPY_UINT16_, Api::NPY_UINT32_,
                                            Api::NPY_UINT64_, kNumpyFloat16,   Api::NPY_UINT16_, Api::NPY_FLOAT_,
                                            Api::NPY_DOUBLE_, Api::NPY_UINT8_, Api::NPY_UINT8_};
  return py::dtype(kNumbers[static_cast<size_t>(dtype)]);
}

void register_layout(py::module_& module) {
  py::class_<FieldSpec>(module, "FieldSpec")
      .def(py::init([](std::string name, uint8_t dtype, std::vector<uint64_t> shape, bool variable, bool nullable,
                       bool categories) {
             FieldSpec field;
             field.name = std::move(name);
             field.dtype = static_cast<Dtype>(dtype);
             field.shape = std::move(shape);
             field.variable = variable;
             field.nullable = nullable;
             field.categories = categories;
             return field;
           }),
           py::arg("name"), py::arg("dtype"), py::arg("shape"), py::arg("variable"), py::arg("nullable"),
           py::arg("categories"))
      .def_readonly("name", &FieldSpec::name)
      .def_property_readonly("dtype", [](const FieldSpec& self) { return static_cast<uint8_t>(self.dtype); })
      .def_readonly("shape", &FieldSpec::shape)
      .def_readonly("variable", &FieldSpec::variable)
      .def_readonly("nullable", &FieldSpec::nullable)
      .def_readonly("categories", &FieldSpec::categories)
      .def_property_readonly("value_columns", &FieldSpec::value_columns)
      .def_property_readonly("stat_columns", &FieldSpec::stat_columns);
}

}  // namespace fastload::bind
