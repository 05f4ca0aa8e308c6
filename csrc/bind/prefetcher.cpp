#include "prefetcher.h"

#include "bind.h"
#include "errors.h"

namespace fastload::bind {
namespace {

using Api = py::detail::npy_api;

constexpr double kSignalCheck_s = 0.05;  // how long Ctrl-C may go unseen
constexpr double kContended_s = 0.004;   // that long for the GIL: another thread is busy, and gives it up each 5 ms

py::object wrap_if_there(const std::shared_ptr<Buffer>& buffer, int numpy_type, py::ssize_t count) {
  return buffer ? wrap(buffer, py::dtype(numpy_type), {count}) : py::none();
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& what) {
    return what.what();
  }
}

// (parts, row numbers or None, None or (bad rows of the batch, why)), see to_python() and Batch.
py::object deliver(const Batch& batch, const std::vector<FieldSpec>& fields) {
  py::object bad = py::none();
  if (batch.error)
    bad = py::make_tuple(py::array_t<uint32_t>(static_cast<py::ssize_t>(batch.bad_rows.size()), batch.bad_rows.data()),
                         message_of(batch.error));
  return py::make_tuple(to_python(batch, fields),
                        wrap_if_there(batch.row_numbers, Api::NPY_INT64_, static_cast<py::ssize_t>(batch.rows)), bad);
}

// Ends a pass when it is dropped. No Python code runs for that: Ctrl-C would be swallowed if it struck a __del__.
class EpochEnding {
 public:
  explicit EpochEnding(std::shared_ptr<Epoch> epoch) : epoch_(std::move(epoch)) {}
  EpochEnding(const EpochEnding&) = delete;
  EpochEnding& operator=(const EpochEnding&) = delete;
  ~EpochEnding() { epoch_->close(); }

 private:
  std::shared_ptr<Epoch> epoch_;
};

// The next batch as deliver() gives it; None at the end. While it waits for the threads, or works in their place, it
// lets go of the GIL and looks for Ctrl-C now and then; a batch that is ready costs no release: taking the GIL back can
// cost 5 ms beside a busy thread.
py::object next(Epoch& self, Engine& engine, double timeout_s) {
  Batch batch;
  double waited_s = 0;
  for (;;) {
    Epoch::Status status;
    if (engine.threads() == 0) {
      without_gil([&] {
        const double until_s = wall_s() + kSignalCheck_s;
        do status = self.try_next(&batch);
        while (status == Epoch::Status::working && wall_s() < until_s);
      });
    } else {
      status = self.try_next(&batch);
    }
    if (status == Epoch::Status::finished) return py::none();
    if (status == Epoch::Status::ready) return deliver(batch, self.fields());
    if (timeout_s > 0 && waited_s >= timeout_s) PyErr_SetString(PyExc_TimeoutError, "no batch came in time");
    if (PyErr_Occurred() || PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (status == Epoch::Status::working) continue;
    double woke_s = 0;
    without_gil([&] {
      self.wait(kSignalCheck_s);
      woke_s = wall_s();
    });
    if (wall_s() - woke_s > kContended_s) engine.expect_bursts();
    waited_s += kSignalCheck_s;
  }
}

}  // namespace

py::object wrap(const std::shared_ptr<Buffer>& buffer, const py::dtype& dtype, std::vector<py::ssize_t> shape) {
  const py::capsule owner(new std::shared_ptr<Buffer>(buffer),
                          [](void* held) { delete static_cast<std::shared_ptr<Buffer>*>(held); });
  return py::array(dtype, std::move(shape), buffer->data(), owner);
}

std::vector<Padding> to_padding(const py::object& padding, size_t fields) {
  std::vector<Padding> out;
  if (py::isinstance<py::bool_>(padding)) {
    out.resize(padding.cast<bool>() ? fields : 0);
    return out;
  }
  using Tuple = std::tuple<bool, uint64_t, uint64_t, bool, uint64_t>;
  for (const auto& [left, multiple, length, truncate, value_bits] : padding.cast<std::vector<Tuple>>())
    out.push_back({left, multiple, length, truncate, value_bits});
  if (out.size() != fields)
    fail(Cause::argument,
         "padding needs one entry per field (" + std::to_string(fields) + "), got " + std::to_string(out.size()));
  return out;
}

py::list to_python(const Batch& batch, const std::vector<FieldSpec>& fields) {
  py::list out;
  const auto rows = static_cast<py::ssize_t>(batch.rows);
  for (size_t f = 0; f < fields.size(); ++f) {
    const FieldBatch& field = batch.fields[f];
    const auto width = static_cast<py::ssize_t>(field.width);
    std::vector<py::ssize_t> shape{rows};
    if (field.lengths) shape.push_back(width);
    if (field.offsets) shape = {width};
    for (uint64_t size : fields[f].shape) shape.push_back(static_cast<py::ssize_t>(size));
    out.append(py::make_tuple(wrap(field.values, numpy_dtype(fields[f].dtype), std::move(shape)),
                              wrap_if_there(field.lengths, Api::NPY_INT64_, rows),
                              wrap_if_there(field.offsets, Api::NPY_INT64_, rows + 1),
                              wrap_if_there(field.valid, Api::NPY_BOOL_, rows)));
  }
  return out;
}

py::dict to_python(const ReadCosts& costs) {
  py::dict out;
  out["read_s"] = costs.times.read_s;
  out["verify_s"] = costs.times.verify_s;
  out["decode_s"] = costs.times.decode_s;
  out["gather_s"] = costs.times.gather_s;
  out["kernels_s"] = costs.times.kernels_s;
  out["blocks_loaded"] = costs.blocks_loaded;
  out["stored_bytes"] = costs.stored_bytes;
  out["bytes_delivered"] = costs.bytes_delivered;
  out["elements"] = costs.elements;
  out["places"] = costs.places;
  return out;
}

void register_prefetcher(py::module_& module) {
  py::class_<Epoch, std::shared_ptr<Epoch>>(module, "Epoch")
      .def("next", &next, py::arg("engine"), py::arg("timeout_s") = 0.0)
      .def("is_ready", &Epoch::is_ready)
      .def_property_readonly("order",
                             [](const Epoch& self) { return std::const_pointer_cast<Order>(self.shared_order()); })
      .def_property_readonly("batches", &Epoch::batches)
      .def("close", &Epoch::close)
      .def_property_readonly("waited_s", &Epoch::waited_s)
      .def_property_readonly("costs", [](const Epoch& self) {
        const EpochCosts costs = self.costs();
        py::dict out = to_python(static_cast<const ReadCosts&>(costs));
        out["ready_batches"] = costs.ready_batches;
        out["rows"] = costs.rows;
        out["digest"] = costs.digest;
        return out;
      });
  py::class_<EpochEnding>(module, "EpochEnding")
      .def(py::init<std::shared_ptr<Epoch>>(), py::arg("epoch"), py::keep_alive<1, 2>());
  py::class_<Engine, std::shared_ptr<Engine>>(module, "Engine")
      .def(py::init([](std::shared_ptr<Source> source, unsigned threads, uint64_t memory_bytes, uint64_t prefetch_bytes,
                       uint64_t prefetch_batches) {
             return Engine::create(source, EngineOptions{threads, memory_bytes, prefetch_bytes, prefetch_batches});
           }),
           py::arg("source"), py::arg("threads"), py::arg("memory_bytes"), py::arg("prefetch_bytes"),
           py::arg("prefetch_batches") = 0, py::keep_alive<1, 2>())
      .def_property_readonly("holds_everything", &Engine::holds_everything)
      .def_property_readonly("threads", &Engine::threads)
      .def(
          "order",
          [](const Engine& self, const OrderOptions& order) {
            return std::const_pointer_cast<Order>(self.order(order));
          },
          py::arg("options"))
      .def(
          "start",
          [](Engine& self, uint64_t batch_rows, bool drop_last, const OrderOptions& order, const py::object& padding,
             bool row_numbers, bool retries, bool skips, std::shared_ptr<BatchColumns> columns, uint64_t draw_key,
             const Epoch* after) {
            EpochOptions options{batch_rows, drop_last, order, to_padding(padding, self.source().fields().size())};
            options.row_numbers = row_numbers;
            options.retries = retries;
            options.skips = skips;
            options.columns = std::move(columns);
            options.draw_key = draw_key;
            return self.start(options, after);
          },
          py::arg("batch_rows"), py::arg("drop_last"), py::arg("order"), py::arg("padding"), py::kw_only(),
          py::arg("row_numbers") = false, py::arg("retries") = false, py::arg("skips") = false,
          py::arg("columns") = nullptr, py::arg("draw_key") = 0, py::arg("after").none(true) = py::none(),
          py::keep_alive<0, 1>());
}

}  // namespace fastload::bind
