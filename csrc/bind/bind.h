// Shared by the binding files: each registers one concept of csrc/core under the same name, and holds no logic.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <string>

#include "buffer.h"
#include "gather.h"
#include "layout.h"
#include "source.h"

namespace fastload::bind {

namespace py = pybind11;

void register_errors(py::module_& module);
void register_checksum(py::module_& module);
void register_codec(py::module_& module);
void register_permutation(py::module_& module);
void register_order(py::module_& module);
void register_packing(py::module_& module);
void register_layout(py::module_& module);
void register_source(py::module_& module);
void register_synthesis(py::module_& module);
void register_shard_reader(py::module_& module);
void register_shard_writer(py::module_& module);
void register_statistics(py::module_& module);
void register_transform(py::module_& module);
void register_interpolate(py::module_& module);
void register_row_reader(py::module_& module);
void register_prefetcher(py::module_& module);

// Runs `body` without the GIL. py::gil_scoped_release takes it back in a destructor: when the interpreter ends, Python
// ends a daemon thread that asks for the GIL, by an unwinding that no destructor lets through.
template <class Body>
void without_gil(Body&& body) {
  PyThreadState* const state = PyEval_SaveThread();
  std::exception_ptr error;
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  PyEval_RestoreThread(state);
  if (error) std::rethrow_exception(error);
}

py::dtype numpy_dtype(Dtype dtype);

// An array over the buffer's memory, which it keeps.
py::object wrap(const std::shared_ptr<Buffer>& buffer, const py::dtype& dtype, std::vector<py::ssize_t> shape);

// A list with, per field, (values, lengths, offsets, valid) as arrays over the batch's own memory; None where absent.
py::list to_python(const Batch& batch, const std::vector<FieldSpec>& fields);

// By name; times in seconds.
py::dict to_python(const ReadCosts& costs);

// True: every field with zeros to its longest row; False: none; else a tuple per field in the order of the struct.
std::vector<Padding> to_padding(const py::object& padding, size_t fields);

// Of a source in memory: (FieldSpec, values, stride_bytes, offsets or None, validity bitmap or None).
MemorySource::Column to_column(const py::tuple& column);

// The memory of a C-contiguous array, or null for None. The caller keeps the array.
template <class T>
const T* pointer_or_null(const py::object& array) {
  if (array.is_none()) return nullptr;
  return static_cast<const T*>(py::array::ensure(array).data());
}

}  // namespace fastload::bind
