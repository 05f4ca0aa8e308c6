// THE FORMAT, version 1: one shard (*.flb). Little-endian; nothing is aligned to less than its drawing says; every
// reserved or padding byte is zero and is checked. The folder around the shards is told in fastload/block/manifest.py.
//
//   0  +------------------------------------------------------------------------------+
//      | header: 128 bytes, and in sealed files 128 per key group + 32 of MAC + pad   |
//      +------------------------------------------------------------------------------+ <- header_bytes
//      | block 0 | chunk of field 0 | pad | chunk of field 1 | pad | ...              |
//      | block 1 | chunk of field 0 | pad | ...              every chunk starts on 64 |
//      +------------------------------------------------------------------------------+ <- footer_offset, on 64
//      | footer:   section | section | ...                                            |
//      +------------------------------------------------------------------------------+ <- file_bytes - 64
//      | tail: 64 bytes                                                               |
//      +------------------------------------------------------------------------------+ <- file_bytes
//
// There are no gaps: a chunk begins where the one before it, padded to 64, ends; the first at header_bytes, and the
// footer where the last one ends. So no two chunks overlap and no byte belongs to none.
//
// header        offset  bytes
//   magic            0      8   89 46 4C 42 0D 0A 1A 0A  ("\x89FLB\r\n\x1a\n": catches text-mode damage)
//   version          8      2   1
//   suite           10      1   0 plain; 1 sealed (HKDF-SHA-256, AES-256-GCM; keys and nonces need no stored bytes)
//   zero            11      1
//   header_bytes    12      4   128 when plain
//   key_groups      16      4   0 when plain; else that many 128-byte records follow the fixed part:
//                               u32 id, u32 zero, commitment[32], key_ref[88]; then HMAC-SHA-256[32] of the header
//   zero            20     12
//   file_id         32     16   random, one per file ever written
//   salt            48     32   random when sealed, zero when plain
//   zero            80     44
//   crc32c         124      4   of bytes 0..123
//
// chunk: the rows of one field in one block, filtered, compressed, (sealed,) then checksummed. Its raw bytes are
//   validity   ceil(rows / 8) bytes, bit i of byte j = row 8j+i is present; padded to 64   only nullable fields
//   offsets    u32[rows + 1] in elements, first 0, ascending; padded to 64                  only ragged fields
//   data       rows * row_bytes, or offsets[rows] * element_bytes                           row-major
//   Null rows hold zero (NaN in float fields), or no elements. Rows of string fields are UTF-8.
//   Byte-shuffle: byte j of element i of all these bytes moves to j * (raw_bytes / element_bytes) + i.
//
// footer section: 32 bytes of head, the payload, padding to 64.
//   u32 type, u32 key_group, u32 flags (bit 0 critical, bit 1 sealed), u32 crc32c of the payload, u64 payload_bytes,
//   u64 zero.  Each type at most once per key group. A reader refuses unknown critical sections, skips other ones.
//
//   1 schema       critical  u32 fields, u32 zero; per field: u16 name_bytes, u8 dtype, u8 flags (1 variable,
//                            2 nullable, 4 categories), u8 dimensions, u8 zero, u16 zero, u32 key_group, u32 zero,
//                            u64 shape[dimensions], name in UTF-8, pad to 8
//   2 blocks       critical  u64 blocks, u32 fields, u32 zero; per block: u32 rows, u32 zero, then per field a
//                            24-byte entry: u64 offset, u32 stored_bytes, u32 raw_bytes, u32 crc32c of the stored
//                            bytes, u8 codec (0 raw, 1 LZ4), u8 filter (0 none, 1 byte-shuffle), u8 flags (1 sealed),
//                            u8 zero.   codec raw implies filter none and stored_bytes == raw_bytes
//   3 dictionaries critical  u32 count, u32 zero; each: u32 field, u32 entries, u64 text_bytes, u32 offsets[entries+1],
//                            UTF-8 text, pad to 8.  Codes of that field's present rows are below `entries`. Over the
//                            shards of a data set each dictionary is the beginning of the longest
//   4 statistics             per block, per field, per column (see FieldSpec::stat_columns) 64 bytes: u64 count (finite
//                            values), u64 nulls, u64 nans, u64 infinities, min, max (8 bytes: i64, u64 or f64 as the
//                            field's kind), f64 mean, f64 m2 (sum of squared deviations); min, max without NaN
//   5 class counts           u32 fields, u32 zero; each: u32 field, u32 classes, i64 values[] (of uint64 the same
//                            bits), u64 rows[]
//   6 sketches               reserved for quantile sketches
//
// tail          offset  bytes                    limits
//   magic            0      8   89 46 4C 54 ...    header, footer     <= 16 MiB each
//   footer_offset    8      8                      chunk, raw, stored <= 256 MiB, and LZ4 at most 255 to 1
//   footer_bytes    16      8                      fields             <= 4096, dimensions <= 8, name <= 255 bytes
//   file_bytes      24      8                      rows of a block    <= 2^28 (and >= 1)
//   rows            32      8                      rows of a shard    <= 2^48
//   file_id         40     16   as in the header
//   footer_crc32c   56      4   of the whole footer
//   crc32c          60      4   of tail bytes 0..59
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fastload {

constexpr std::array<uint8_t, 8> kHeaderMagic = {0x89, 'F', 'L', 'B', '\r', '\n', 0x1A, '\n'};
constexpr std::array<uint8_t, 8> kTailMagic = {0x89, 'F', 'L', 'T', '\r', '\n', 0x1A, '\n'};
constexpr uint16_t kVersion = 1;
constexpr uint64_t kHeaderBytes = 128, kTailBytes = 64, kSectionHeadBytes = 32, kChunkEntryBytes = 24;
constexpr uint64_t kMaxFooterBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxRawChunkBytes = uint64_t{256} << 20;  // stored ones too: a codec that does not gain is not used
constexpr uint64_t kMaxLz4Ratio = 255;                       // a byte of LZ4 stands for no more
constexpr uint64_t kMaxBlockRows = uint64_t{1} << 28;
constexpr uint64_t kMaxShardRows = uint64_t{1} << 48;
constexpr uint32_t kMaxFields = 4096, kMaxDimensions = 8, kMaxNameBytes = 255;
constexpr uint64_t kMaxStatColumns = 1024;  // wider fields are summed up as one column
constexpr size_t kMaxClasses = 4096;        // more distinct values than this are no classes

enum class Dtype : uint8_t {
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64,
  string,
  bytes
};
constexpr uint8_t kDtypes = 15;

enum class Codec : uint8_t { raw = 0, lz4 = 1 };
enum class Filter : uint8_t { none = 0, byte_shuffle = 1 };
enum class SectionType : uint32_t { schema = 1, blocks = 2, dictionaries = 3, statistics = 4, class_counts = 5 };
enum class StatKind : uint8_t { signed_integer, unsigned_integer, floating };  // what min and max are

struct FieldSpec {
  std::string name;
  Dtype dtype = Dtype::float32;
  bool variable = false, nullable = false, categories = false;
  std::vector<uint64_t> shape;
  uint32_t key_group = 0;

  bool is_text() const { return dtype == Dtype::string || dtype == Dtype::bytes; }
  bool is_ragged() const { return variable || is_text(); }
  uint64_t element_bytes() const;
  uint64_t row_bytes() const;  // of a fixed row; one element of a ragged one
  StatKind stat_kind() const;
  // Columns of values with statistics of their own: each entry of a vector, each channel of a channels-last image
  // (three dimensions, at most 4 channels), else one for all. Ragged fields: one for the values (none for text) and,
  // last, one for the lengths (unsigned).
  uint64_t value_columns() const;
  uint64_t stat_columns() const { return value_columns() + (is_ragged() ? 1 : 0); }
  uint64_t validity_bytes(uint64_t rows) const;  // with padding, 0 if not nullable
  uint64_t offsets_bytes(uint64_t rows) const;   // with padding, 0 if not ragged
  bool operator==(const FieldSpec& other) const;
};

struct ChunkEntry {
  uint64_t offset = 0;
  uint32_t stored_bytes = 0, raw_bytes = 0, crc32c = 0;
  Codec codec = Codec::raw;
  Filter filter = Filter::none;
};

struct Dictionary {
  uint32_t field = 0;
  std::vector<std::string> entries;
};

struct StatRecord {  // 64 bytes, as stored
  uint64_t count = 0, nulls = 0, nans = 0, infinities = 0;
  uint64_t min_bits = 0, max_bits = 0;  // meaningful only if count + infinities > 0
  double mean = 0, m2 = 0;
};
static_assert(sizeof(StatRecord) == 64, "stored as it lies in memory");

struct ClassCounts {
  uint32_t field = 0;
  std::vector<int64_t> values;
  std::vector<uint64_t> rows;
};

using FileId = std::array<uint8_t, 16>;

// Everything a shard says about itself. write_*() and read_layout() are each other's inverse.
struct Layout {
  FileId file_id{};
  uint64_t file_bytes = 0, footer_offset = 0, rows = 0;
  uint32_t footer_crc32c = 0;
  std::vector<FieldSpec> fields;
  std::vector<uint32_t> block_rows;
  std::vector<ChunkEntry> chunks;  // [block * fields.size() + field]
  std::vector<Dictionary> dictionaries;
  std::vector<StatRecord> statistics;  // [block][field][column]; empty when the section is absent
  std::vector<ClassCounts> class_counts;

  const ChunkEntry& chunk(uint64_t block, uint64_t field) const { return chunks[block * fields.size() + field]; }
};

uint64_t stat_columns(const std::vector<FieldSpec>& fields);  // of all fields together

std::vector<uint8_t> write_header(const FileId& file_id);
// The footer and the tail. Fills in footer_crc32c and file_bytes.
std::vector<uint8_t> write_footer(Layout& layout);

// Copies `size_bytes` bytes at `offset` out of a file; never asked to go beyond its end.
using ReadBytes = std::function<std::vector<uint8_t>(uint64_t offset, uint64_t size_bytes)>;

// Checks every number against the file and against each other before it is used. `name` is for the messages.
Layout read_layout(const ReadBytes& read, uint64_t file_bytes, const std::string& name);

// Throws if the fields are impossible: none or too many, beyond a limit, contradicting flags.
void check_fields(const std::vector<FieldSpec>& fields, const std::string& name);

}  // namespace fastload
