#include "errors.h"

#include <exception>

#include "bind.h"

namespace fastload::bind {
namespace {

const char* exception_name(Cause cause) {
  switch (cause) {
    case Cause::format:
      return "FormatError";
    case Cause::version:
      return "VersionError";
    case Cause::sealed:
      return "SealedError";
    case Cause::truncated:
      return "TruncatedError";
    case Cause::checksum:
      return "ChecksumError";
    case Cause::limit:
      return "LimitError";
    case Cause::map_lost:
      return "MapLostError";
    case Cause::file_io:
      return "FileIOError";
    case Cause::disk_full:
      return "DiskFullError";
    case Cause::schema:
      return "SchemaError";
    case Cause::argument:
      return "ArgumentError";
    case Cause::row_index:
      return "RowIndexError";
    case Cause::closed:
      return "ClosedError";
    case Cause::refused:
      return "RefusedValueError";
  }
  return "FastloadError";
}

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object type = py::module_::import("fastload.errors").attr(exception_name(error.cause()));
    PyErr_SetString(type.ptr(), error.what());
  }
}

}  // namespace

void register_errors(py::module_&) { py::register_exception_translator(&translate); }

}  // namespace fastload::bind
