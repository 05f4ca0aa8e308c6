#include "statistics.h"

#include "bind.h"
#include "quantiles.h"

namespace fastload::bind {

void register_statistics(py::module_& module) {
  module.def(
      "summarize",
      [](const FieldSpec& field, const py::array& values, unsigned threads) {
        std::vector<StatRecord> records;
        without_gil(
            [&, rows = static_cast<uint64_t>(values.shape(0)), data = static_cast<const uint8_t*>(values.data())] {
              records = summarize_array(field, rows, data, threads);
            });
        return py::array_t<uint64_t>(static_cast<py::ssize_t>(records.size() * sizeof(StatRecord) / sizeof(uint64_t)),
                                     reinterpret_cast<const uint64_t*>(records.data()));
      },
      py::arg("field"), py::arg("values"), py::arg("threads"));
  module.def(
      "quantiles",
      [](uint8_t dtype, const py::array& values, uint64_t rows, uint64_t columns, const std::vector<double>& levels,
         unsigned threads) {
        std::vector<double> found;
        without_gil([&, data = static_cast<const uint8_t*>(values.data())] {
          found = quantiles(static_cast<Dtype>(dtype), data, rows, columns, levels, threads);
        });
        return py::array_t<double>(static_cast<py::ssize_t>(found.size()), found.data());
      },
      py::arg("dtype"), py::arg("values"), py::arg("rows"), py::arg("columns"), py::arg("levels"), py::arg("threads"));
}

}  // namespace fastload::bind
