// A file mapped for reading, and the guard that turns a lost map into an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace fastload {

// Runs `body(argument)`; returns false if a SIGBUS struck it: the mapped file was cut short, or its storage failed.
// The body is left by a long jump, so it must own nothing: no locks, no memory, no destructors.
bool run_guarded(void (*body)(void*), void* argument);

template <class Body>
bool guarded(Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  return run_guarded([](void* argument) { (*static_cast<Plain*>(argument))(); },
                     const_cast<void*>(static_cast<const void*>(&body)));
}

// Read-only map of a whole file. The first map installs a process-wide SIGBUS handler, which is what a signal needs;
// faults outside run_guarded() go to the handler that was there before.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  uint64_t size_bytes() const { return size_bytes_; }

  // Asks the system to read this range soon; returns at once.
  void will_need(uint64_t offset, uint64_t size_bytes) const;
  // The file still has the size it was mapped with.
  bool is_whole() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  const uint8_t* data_ = nullptr;
  uint64_t size_bytes_ = 0;
};

}  // namespace fastload
