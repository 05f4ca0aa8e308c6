// Memory: aligned, on huge pages where it is large, and recycled where it is handed out once a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace fastload {

constexpr size_t kAlignment = 64;  // a cache line, and what AVX-512 and torch like

// Owned memory of a fixed size, aligned to 64 bytes; from 2 MiB up to 2 MiB, and on huge pages where the system
// grants them (random access to decoded blocks is twice as fast there). The contents start undefined.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size_bytes);
  Buffer(Buffer&& other) noexcept : data_(other.data_), size_bytes_(other.size_bytes_) {
    other.data_ = nullptr;
    other.size_bytes_ = 0;
  }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  uint8_t* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Batch memory. take() hands out a buffer that belongs to its holder for as long as it likes; when the last
// reference goes, the memory returns here and the next batch is written where the caches are still warm. Memory is
// never reused while anybody holds it. Thread-safe; buffers may outlive the pool's owner (they hold the pool). In a
// forked child nothing is recycled: one of the parent's threads may have held the lock, and nobody is there to give it
// back.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  // Unused memory that is kept: up to retain_bytes, and so many buffers whatever their size.
  explicit BufferPool(size_t retain_bytes, size_t retain_buffers = 0);
  std::shared_ptr<Buffer> take(size_t size_bytes);
  void retain(size_t retain_bytes);

 private:
  void give_back(Buffer&& buffer);
  bool is_forked() const;

  const size_t retain_buffers_;
  const int owner_process_;
  std::mutex mutex_;
  size_t retain_bytes_;
  std::vector<Buffer> free_;  // last returned, first taken
  size_t free_bytes_ = 0;
};

}  // namespace fastload
