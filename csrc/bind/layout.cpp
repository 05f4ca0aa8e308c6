#include "layout.h"

#include "bind.h"

namespace fastload::bind {

py::dtype numpy_dtype(Dtype dtype) {
  static constexpr const char* kNames[kDtypes] = {"?",  "i1", "i2", "i4", "i8", "u1", "u2", "u4",
                                                  "u8", "f2", "u2", "f4", "f8", "u1", "u1"};
  return py::dtype(kNames[static_cast<size_t>(dtype)]);
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
