// One cause per error. The binding maps each cause to one Python exception (csrc/bind/errors.cpp).
#pragma once

#include <stdexcept>
#include <string>

namespace fastload {

enum class Cause {
  format,     // bytes do not follow layout.h
  version,    // another version of the format
  sealed,     // encrypted, and no key machinery in this build
  truncated,  // shorter than its own tail says
  checksum,   // stored bytes changed
  limit,      // a number beyond the format's limits
  map_lost,   // the mapped file shrank or its storage failed
  file_io,    // the operating system refused
  disk_full,  // ENOSPC, EDQUOT
  schema,     // the data contradict the schema
  argument,   // a parameter without meaning
  row_index,  // a row outside the data set
  closed,     // used after close
  refused,    // a transform cannot take a row's value
};

class Error : public std::runtime_error {
 public:
  Error(Cause cause, const std::string& message) : std::runtime_error(message), cause_(cause) {}
  Cause cause() const { return cause_; }

 private:
  Cause cause_;
};

[[noreturn]] inline void fail(Cause cause, const std::string& message) { throw Error(cause, message); }

}  // namespace fastload
