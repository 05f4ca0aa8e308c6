#include "buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "byte_order.h"

namespace fastload {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

}  // namespace

Buffer::Buffer(size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  const bool huge = size_bytes >= kHugePageBytes;
  const size_t alignment = huge ? kHugePageBytes : kAlignment;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, align_up(size_bytes, kAlignment)) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (huge) madvise(memory, size_bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);  // a wish, not a need
#endif
  data_ = static_cast<uint8_t*>(memory);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    std::free(data_);
    data_ = other.data_;
    size_bytes_ = other.size_bytes_;
    other.data_ = nullptr;
    other.size_bytes_ = 0;
  }
  return *this;
}

Buffer::~Buffer() { std::free(data_); }

BufferPool::BufferPool(size_t retain_bytes, size_t retain_buffers)
    : retain_buffers_(retain_buffers), owner_process_(getpid()), retain_bytes_(retain_bytes) {}

void BufferPool::retain(size_t retain_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  retain_bytes_ = retain_bytes;
}

bool BufferPool::is_forked() const { return getpid() != owner_process_; }

std::shared_ptr<Buffer> BufferPool::take(size_t size_bytes) {
  Buffer buffer;
  if (!is_forked()) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = free_.size(); i-- > 0;) {
      // A somewhat larger buffer serves; a far larger one would waste memory on small batches.
      if (free_[i].size_bytes() >= size_bytes && free_[i].size_bytes() <= size_bytes + size_bytes / 2 + 4096) {
        buffer = std::move(free_[i]);
        free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
        free_bytes_ -= buffer.size_bytes();
        break;
      }
    }
  }
  if (!buffer.data()) buffer = Buffer(size_bytes);
  auto pool = shared_from_this();
  return std::shared_ptr<Buffer>(new Buffer(std::move(buffer)), [pool](Buffer* held) {
    pool->give_back(std::move(*held));
    delete held;
  });
}

void BufferPool::give_back(Buffer&& buffer) {
  std::vector<Buffer> surplus;  // freed outside the lock
  if (is_forked()) {
    surplus.push_back(std::move(buffer));
    return;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  free_bytes_ += buffer.size_bytes();
  free_.push_back(std::move(buffer));
  while (free_bytes_ > retain_bytes_ && free_.size() > retain_buffers_) {
    free_bytes_ -= free_.front().size_bytes();
    surplus.push_back(std::move(free_.front()));
    free_.erase(free_.begin());
  }
}

}  // namespace fastload
