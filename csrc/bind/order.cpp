#include "order.h"

#include "bind.h"
#include "errors.h"

namespace fastload::bind {
namespace {

Ends to_ends(const std::string& name) {
  if (name == "repeat") return Ends::repeat;
  if (name == "drop") return Ends::drop;
  if (name == "uneven") return Ends::uneven;
  fail(Cause::argument, "ends must be repeat, drop or uneven, got " + name);
}

py::array_t<int64_t> row_numbers(const Order& order, uint64_t position, uint64_t count) {
  if (position > order.rows() || count > order.rows() - position)
    fail(Cause::argument, "positions " + std::to_string(position) + " to " + std::to_string(position + count) +
                              " were asked for; there are " + std::to_string(order.rows()));
  py::array_t<int64_t> out(static_cast<py::ssize_t>(count));
  std::vector<RowRef> refs;
  for (uint64_t done = 0; done < count;) {
    const uint64_t w = order.window_at(position + done);
    const Window& window = order.windows()[w];
    const uint64_t n = std::min(count - done, window.first_position + window.rows - position - done);
    refs.resize(n);
    order.locate(w, position + done, n, refs.data());
    for (uint64_t i = 0; i < n; ++i) out.mutable_data()[done + i] = static_cast<int64_t>(order.row_number(refs[i]));
    done += n;
  }
  return out;
}

py::array_t<uint32_t> blocks_of(const Order& order, uint64_t position) {
  const Window& window = order.windows().at(order.window_at(position));
  py::array_t<uint32_t> out(static_cast<py::ssize_t>(window.loads));
  for (uint64_t i = 0; i < window.loads; ++i) out.mutable_data()[i] = order.block_of_load(window.first_load + i);
  return out;
}

}  // namespace

void register_order(py::module_& module) {
  py::class_<OrderOptions>(module, "OrderOptions")
      .def(py::init([](bool shuffle, uint64_t seed, uint64_t epoch, uint64_t lanes, uint64_t rank, uint64_t world_size,
                       const std::string& ends, uint64_t first_position) {
             OrderOptions options;
             options.shuffle = shuffle;
             options.seed = seed;
             options.epoch = epoch;
             options.lanes = lanes;
             options.rank = rank;
             options.world_size = world_size;
             options.ends = to_ends(ends);
             options.first_position = first_position;
             return options;
           }),
           py::kw_only(), py::arg("shuffle") = false, py::arg("seed") = 0, py::arg("epoch") = 0, py::arg("lanes") = 1,
           py::arg("rank") = 0, py::arg("world_size") = 1, py::arg("ends") = "repeat", py::arg("first_position") = 0);
  py::class_<Order, std::shared_ptr<Order>>(module, "Order")
      .def(py::init([](uint64_t rows, uint32_t block_rows, OrderOptions options, uint64_t window_blocks) {
             if (window_blocks) options.window_bytes = window_blocks;  // each block costs 1
             return std::make_shared<Order>(std::make_shared<const BlockIndex>(rows, block_rows),
                                            std::vector<uint64_t>(), options);
           }),
           py::arg("rows"), py::arg("block_rows"), py::arg("options"), py::arg("window_blocks") = 0)
      .def_property_readonly("rows", &Order::rows)
      .def_property_readonly("total_rows", &Order::total_rows)
      .def_property_readonly("loads", &Order::loads)
      .def_property_readonly("window_rows",
                             [](const Order& self) {
                               std::vector<uint64_t> rows;
                               for (const Window& window : self.windows()) rows.push_back(window.rows);
                               return rows;
                             })
      .def("is_repeated", &Order::is_repeated, py::arg("position"))
      .def("global_after", &Order::global_after, py::arg("rows"))
      .def("row_numbers", &row_numbers, py::arg("position"), py::arg("count"))
      .def("blocks_at", &blocks_of, py::arg("position"));
}

}  // namespace fastload::bind
