// libFuzzer on a shard: open it, decode and view every chunk, gather rows at random, run epochs. What a damaged shard
// may do is be refused by an Error; anything else (another exception, a sanitizer's report, a hang) is a find.
//
// Nearly every change of a byte ends at a checksum, so the mutator makes the checksums hold again after each, and
// mostly the sizes as well: what is under test comes after them. It changes single parts in place more often than the
// whole, because a part that grows moves all that follows. Seeds are written by the ShardWriter itself:
//
//   fuzz_shard [libFuzzer's options] CORPUS    first fills the folder CORPUS with seeds
//   fuzz_shard FILE                            runs one input again
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "codec_lz4.h"
#include "errors.h"
#include "fixtures.h"
#include "image.h"
#include "prefetcher.h"
#include "row_reader.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace fastload::test {
namespace {

constexpr uint64_t kMemoryBytes = uint64_t{1} << 20;
constexpr uint64_t kMostRows = 64;  // gathered at once: padding multiplies what a long run takes

[[noreturn]] void find(const char* what) {
  std::fprintf(stderr, "fuzz_shard: %s\n", what);
  std::abort();
}

// The input as a file, which is what a reader opens. One place for all inputs.
std::string as_file(const uint8_t* data, size_t size) {
  static const int descriptor = memfd_create("fuzz_shard", MFD_CLOEXEC);
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size))
    find("no memory for a file");
  return "/proc/self/fd/" + std::to_string(descriptor);
}

// Every byte a consumer would touch: the sanitizers see those that are not there.
uint64_t touch(const uint8_t* data, uint64_t bytes) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < bytes; ++i) sum += data[i];
  return sum;
}

void touch(const Batch& batch, const std::vector<FieldSpec>& fields) {
  volatile uint64_t sum = 0;
  for (size_t f = 0; f < fields.size(); ++f) {
    const FieldBatch& field = batch.fields[f];
    const uint64_t elements = fields[f].is_ragged() ? (field.lengths ? batch.rows : 1) * field.width : batch.rows;
    sum = sum + touch(field.values->data(), elements * fields[f].row_bytes());
    if (field.valid) sum = sum + touch(field.valid->data(), batch.rows);
    for (const auto* marks : {&field.lengths, &field.offsets})
      if (*marks)
        for (uint64_t i = 0; i < batch.rows; ++i) {
          const int64_t mark = reinterpret_cast<const int64_t*>((*marks)->data())[i];
          if (mark < 0 || static_cast<uint64_t>(mark) > field.width) find("a length or offset beyond the values");
        }
  }
}

// Opens, decodes and views every chunk by itself, then reads rows and epochs as users do.
void read_everything(const std::string& path) {
  const auto reader = std::make_shared<const ShardReader>(path);
  const Layout& layout = reader->layout();
  Buffer raw;
  LoadScratch scratch;
  for (uint64_t b = 0; b < layout.block_rows.size(); ++b)
    for (uint64_t f = 0; f < layout.fields.size(); ++f) try {
        if (raw.size_bytes() < layout.chunk(b, f).raw_bytes) raw = Buffer(layout.chunk(b, f).raw_bytes);
        reader->decode(b, f, raw.data(), scratch);
        const FieldRows view = reader->view(b, f, raw.data());
        volatile uint64_t sum = touch(raw.data(), layout.chunk(b, f).raw_bytes);
        for (uint64_t row = 0; row < std::min(uint64_t{layout.block_rows[b]}, kMostRows); ++row)
          if (layout.fields[f].is_ragged() && view.begin(row + 1) < view.begin(row))
            find("offsets that descend were let through");
        (void)sum;
      } catch (const Error&) {  // this chunk; the others may be whole
      }
  std::vector<uint32_t> fields(layout.fields.size());
  for (uint32_t f = 0; f < fields.size(); ++f) fields[f] = f;
  const auto source = std::make_shared<ShardSource>(std::vector<std::shared_ptr<const ShardReader>>{reader}, fields);
  std::mt19937_64 random(layout.rows);
  const auto rows = RowReader::create(source, kMemoryBytes);
  for (const bool pad : {false, true}) try {
      std::vector<uint64_t> wanted = {0, layout.rows - 1};
      for (int i = 0; i < 8; ++i) wanted.push_back(random() % layout.rows);
      touch(rows->read(wanted.data(), wanted.size(), std::vector<Padding>(pad ? source->fields().size() : 0)),
            source->fields());
    } catch (const Error&) {
    }
  EngineOptions engine;
  engine.threads = 0;
  engine.memory_bytes = kMemoryBytes;
  EpochOptions epoch;
  epoch.batch_rows = kMostRows / 2;
  for (const bool shuffle : {false, true}) try {
      epoch.order.shuffle = shuffle;
      const auto pass = Engine::create(source, engine)->start(epoch);
      Batch batch;
      for (int i = 0; i < 4 && take(*pass, &batch); ++i) touch(batch, source->fields());
    } catch (const Error&) {
    }
}

// A shard of few rows of many kinds; what is compressed must be long enough to gain.
Image make_seed(const std::string& folder, uint64_t kind) {
  std::vector<FieldSpec> fields;
  for (const FieldSpec& spec : every_field())
    if (std::hash<std::string>()(spec.name + std::to_string(kind)) % 9 == 0) fields.push_back(spec);
  if (fields.empty()) fields.push_back(field("x", Dtype::float32, {3}));
  const Table table = make_table(fields, 3 + kind % 7 * 6, kind);
  const std::string path = folder + "/seed-" + std::to_string(kind);
  const WriteCodec codec = kind % 3 ? WriteCodec::lz4 : WriteCodec::raw;
  write_table(path, table, {codec, kind % 4 ? 1500u : 1u << 20, 0});
  return {read_file(path)};
}

void fill_corpus(const std::string& folder) {
  for (uint64_t kind = 0; kind < 40; ++kind) {
    const std::string path = folder + "/seed-" + std::to_string(kind);
    std::filesystem::remove(path);
    make_seed(folder, kind);
  }
}

// Changes `bytes` bytes at `at` and nothing else.
void mutate_in_place(Image& image, Image::Range range, std::mt19937_64& random) {
  if (range.bytes == 0 || range.end() > image.bytes.size()) return;
  // A stretch of it: eight bytes change a number, all of them change much.
  const uint64_t most = random() % 3 ? 8 : range.bytes, at = range.begin + random() % range.bytes;
  std::vector<uint8_t> part(image.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                            image.bytes.begin() + static_cast<std::ptrdiff_t>(std::min(range.end(), at + most)));
  const size_t size = LLVMFuzzerMutate(part.data(), part.size(), part.size());
  std::copy_n(part.begin(), size, image.bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

// Changes what a compressed chunk decodes to: its offsets, codes and bitmaps lie behind LZ4, where blind changes break
// only the compression. The new bytes must have the room of the old ones.
void mutate_decoded(Image& image, uint64_t entry, std::mt19937_64& random) {
  const Image::Range stored = image.chunk(entry);
  const uint64_t raw_bytes = image.get<uint32_t>(entry + 12);
  if (stored.bytes == 0 || raw_bytes == 0 || raw_bytes > 1 << 20 || image.get<uint8_t>(entry + 20) != 1) return;
  Image raw{std::vector<uint8_t>(raw_bytes)};
  if (!lz4_decompress(image.bytes.data() + stored.begin, stored.bytes, raw.bytes.data(), raw_bytes)) return;
  mutate_in_place(raw, {0, raw_bytes}, random);
  std::vector<uint8_t> packed(lz4_bound(raw_bytes));
  const uint64_t packed_bytes = lz4_compress(raw.bytes.data(), raw_bytes, packed.data(), packed.size(), 9);
  if (packed_bytes == 0 || align_up(packed_bytes, kAlignment) != align_up(stored.bytes, kAlignment)) return;
  const auto begin = image.bytes.begin() + static_cast<std::ptrdiff_t>(stored.begin);
  std::fill_n(begin, align_up(stored.bytes, kAlignment), uint8_t{0});
  std::copy_n(packed.begin(), packed_bytes, begin);
  image.set(entry + 8, static_cast<uint32_t>(packed_bytes));
}

void mutate(Image& image, size_t max_size, std::mt19937_64& random) {
  const std::vector<uint64_t> heads = image.is_whole() ? image.heads() : std::vector<uint64_t>();
  const std::vector<uint64_t> entries = image.is_whole() ? image.entries() : std::vector<uint64_t>();
  const uint64_t choice = random() % 20;
  if (choice < 3 || heads.empty()) {
    std::vector<uint8_t> grown = image.bytes;
    grown.resize(max_size);
    grown.resize(LLVMFuzzerMutate(grown.data(), image.bytes.size(), max_size));
    image.bytes = std::move(grown);
  } else if (choice < 4) {
    mutate_in_place(image, {0, kHeaderBytes}, random);
  } else if (choice < 5) {
    mutate_in_place(image, {image.tail(), kTailBytes}, random);
  } else if (choice < 6) {
    mutate_in_place(image, {heads[random() % heads.size()], kSectionHeadBytes}, random);
  } else if (choice < 13 || entries.empty()) {
    const uint64_t head = heads[random() % heads.size()];
    mutate_in_place(image, {head + kSectionHeadBytes, image.get<uint64_t>(head + 16)}, random);
  } else if (choice < 16) {
    mutate_in_place(image, image.chunk(entries[random() % entries.size()]), random);
  } else {
    mutate_decoded(image, entries[random() % entries.size()], random);
  }
}

}  // namespace
}  // namespace fastload::test

extern "C" int LLVMFuzzerInitialize(int* arguments, char*** argument) {
  const char* last = *arguments > 1 ? (*argument)[*arguments - 1] : "";
  if (std::filesystem::is_directory(last)) fastload::test::fill_corpus(last);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  std::mt19937_64 random(seed);
  fastload::test::Image image{std::vector<uint8_t>(data, data + size)};
  fastload::test::mutate(image, max_size, random);
  if (random() % 8) image.repair_sizes();
  if (random() % 16) image.repair_checksums();
  std::copy(image.bytes.begin(), image.bytes.end(), data);
  return image.bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    fastload::test::read_everything(fastload::test::as_file(data, size));
  } catch (const fastload::Error&) {  // refused, as it should be
  }
  return 0;
}
