#include "bind.h"

PYBIND11_MODULE(_core, module) {
  using namespace fastload::bind;
  module.doc() = "The block engine of fastload: private, its public faces are in the Python package.";
  register_errors(module);
  register_checksum(module);
  register_codec(module);
  register_permutation(module);
  register_order(module);
  register_packing(module);
  register_layout(module);
  register_source(module);
  register_synthesis(module);
  register_shard_reader(module);
  register_shard_writer(module);
  register_statistics(module);
  register_transform(module);
  register_interpolate(module);
  register_row_reader(module);
  register_prefetcher(module);
}
