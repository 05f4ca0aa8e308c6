#include "synthesis.h"

#include "bind.h"

namespace fastload::bind {

void register_synthesis(py::module_& module) {
  py::class_<SynthesizingSource, Source, std::shared_ptr<SynthesizingSource>>(module, "SynthesizingSource")
      .def(py::init([](std::shared_ptr<Source> real, const py::list& resident,
                       const std::vector<std::tuple<uint64_t, uint64_t, uint64_t>>& classes,
                       const py::array_t<int32_t, py::array::c_style>& neighbors,
                       const std::vector<std::tuple<uint32_t, uintptr_t>>& fields) {
             std::vector<MemorySource::Column> columns;
             for (const py::handle& column : resident) columns.push_back(to_column(column.cast<py::tuple>()));
             std::vector<Synthesis::Class> each;
             for (const auto& [rows, first_base, bases] : classes) each.push_back({rows, first_base, bases});
             std::vector<Synthesis::Field> made;
             for (const auto& [field, address] : fields)
               made.push_back({field, reinterpret_cast<InterpolateFunction>(address)});
             Synthesis synthesis(real->rows(), std::move(each), neighbors.data(),
                                 static_cast<uint32_t>(neighbors.shape(1)), std::move(made));
             return std::make_shared<SynthesizingSource>(std::move(real), std::move(columns), std::move(synthesis));
           }),
           py::arg("real"), py::arg("resident"), py::arg("classes"), py::arg("neighbors"), py::arg("fields"),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::keep_alive<1, 5>());
}

}  // namespace fastload::bind
