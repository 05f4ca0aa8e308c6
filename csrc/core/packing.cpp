#include "packing.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "errors.h"
#include "permutation.h"

namespace fastload {
namespace {

constexpr int64_t kMaxPieces = int64_t{Stacks::kNone} - 1;  // of a pool: they are numbered in 32 bits

// One pool's documents, cut to pieces that fit a row, in base order. Used again for the next pool.
struct Pieces {
  std::vector<uint64_t> documents;  // of the pool
  std::vector<int64_t> sources, starts;
  std::vector<uint32_t> lengths;

  void cut(const int64_t* document_lengths, size_t count, const PackingOptions& options, uint64_t pool);
};

void Pieces::cut(const int64_t* document_lengths, size_t count, const PackingOptions& options, uint64_t pool) {
  const uint64_t first = pool * options.pool_documents;
  documents.resize(std::min<uint64_t>(options.pool_documents, count - first));
  if (options.key)
    Permutation(count, *options.key).apply(first, 1, documents.size(), documents.data());
  else
    std::iota(documents.begin(), documents.end(), first);
  sources.clear();
  starts.clear();
  lengths.clear();
  const auto row_tokens = int64_t{options.row_tokens};
  for (const uint64_t document : documents) {
    const int64_t length = document_lengths[document];
    if (length / row_tokens >= kMaxPieces - static_cast<int64_t>(lengths.size()))
      fail(Cause::argument, "the pool of document " + std::to_string(document) + ", which has " +
                                std::to_string(length) + " tokens, is cut into 2^32 pieces or more by rows of " +
                                std::to_string(row_tokens) + " tokens; give longer rows or smaller pools");
    for (int64_t start = 0; start < length; start += row_tokens) {
      sources.push_back(static_cast<int64_t>(document));
      starts.push_back(start);
      lengths.push_back(static_cast<uint32_t>(std::min(row_tokens, length - start)));
    }
  }
}

}  // namespace

Stacks::Stacks(uint32_t keys) : tops_(keys, kNone) {
  size_t bits = keys;
  do {
    bits = (bits + 63) / 64;
    marked_.emplace_back(bits);
  } while (bits > 1);
}

void Stacks::push(uint32_t key, uint32_t item) {
  if (item >= below_.size()) below_.resize(item + size_t{1});
  below_[item] = tops_[key];
  tops_[key] = item;
  for (auto& words : marked_) {
    const bool had_bits = words[key / 64] != 0;
    words[key / 64] |= uint64_t{1} << key % 64;
    if (had_bits) return;
    key /= 64;
  }
}

uint32_t Stacks::pop(uint32_t key) {
  const uint32_t item = tops_[key];
  tops_[key] = below_[item];
  if (tops_[key] != kNone) return item;
  for (auto& words : marked_) {
    words[key / 64] &= ~(uint64_t{1} << key % 64);
    if (words[key / 64] != 0) break;
    key /= 64;
  }
  return item;
}

uint32_t Stacks::at_least(uint32_t key) const {
  for (size_t level = 0; level < marked_.size() && key / 64 < marked_[level].size(); ++level) {
    const uint64_t found = marked_[level][key / 64] & UINT64_MAX << key % 64;
    if (found == 0) {
      key = key / 64 + 1;  // go up: which of the next words has bits
      continue;
    }
    key = key / 64 * 64 + static_cast<uint32_t>(__builtin_ctzll(found));
    while (level-- > 0) key = key * 64 + static_cast<uint32_t>(__builtin_ctzll(marked_[level][key]));
    return key;
  }
  return kNone;
}

BestFit::BestFit(uint32_t capacity) : capacity_(capacity), items_(capacity), bins_(capacity) {}

uint32_t BestFit::pack(const std::vector<uint32_t>& lengths, std::vector<uint32_t>& bins) {
  bins.resize(lengths.size());
  for (size_t i = lengths.size(); i-- > 0;)  // backward, so that equal lengths come off the stack in their order
    items_.push(capacity_ - lengths[i], static_cast<uint32_t>(i));
  uint32_t count = 0;
  for (uint32_t key = 0; (key = items_.at_least(key)) != Stacks::kNone;) {
    const uint32_t item = items_.pop(key), length = capacity_ - key;
    uint32_t room = bins_.at_least(length);
    const bool fits = room != Stacks::kNone;
    bins[item] = fits ? bins_.pop(room) : count++;
    if (!fits) room = capacity_;
    if (room > length) bins_.push(room - length, bins[item]);
  }
  for (uint32_t room = 0; (room = bins_.at_least(room)) != Stacks::kNone;) bins_.pop(room);
  return count;
}

std::vector<int64_t> count_packed_rows(const int64_t* lengths, size_t documents, const PackingOptions& options) {
  BestFit fit(options.row_tokens);
  Pieces pieces;
  std::vector<uint32_t> bins;
  std::vector<int64_t> rows((documents + options.pool_documents - 1) / options.pool_documents);
  for (size_t pool = 0; pool < rows.size(); ++pool) {
    pieces.cut(lengths, documents, options, pool);
    rows[pool] = fit.pack(pieces.lengths, bins);
  }
  return rows;
}

PackedPool pack_pool(const int64_t* lengths, size_t documents, const PackingOptions& options, uint64_t pool) {
  Pieces pieces;
  pieces.cut(lengths, documents, options, pool);
  std::vector<uint32_t> bins;
  const uint32_t rows = BestFit(options.row_tokens).pack(pieces.lengths, bins);

  // Number the rows by their first pieces, then sort the pieces by row (a counting sort: base order stays inside a
  // row).
  std::vector<uint32_t> row_of_bin(rows, Stacks::kNone);
  std::vector<int64_t> next(rows + size_t{1});
  uint32_t seen = 0;
  for (uint32_t& bin : bins) {
    if (row_of_bin[bin] == Stacks::kNone) row_of_bin[bin] = seen++;
    bin = row_of_bin[bin];
    ++next[bin + size_t{1}];
  }
  std::partial_sum(next.begin(), next.end(), next.begin());

  const size_t count = bins.size();
  PackedPool packed{std::vector<int64_t>(count), std::vector<int64_t>(count), std::vector<int64_t>(count), next};
  for (size_t i = 0; i < count; ++i) {
    const auto place = static_cast<size_t>(next[bins[i]]++);
    packed.documents[place] = pieces.sources[i];
    packed.starts[place] = pieces.starts[i];
    packed.lengths[place] = pieces.lengths[i];
  }
  return packed;
}

void place_pieces(const uint8_t* values, uint64_t elements, size_t element_bytes, const uint8_t* fill,
                  const PlacedPieces& pieces, const PackedRows& packed) {
  uint64_t place = 0;  // the next one to be filled, counted through all rows
  const auto leave_empty = [&](uint64_t until) {
    for (uint64_t i = place; i < until; ++i) std::memcpy(packed.values + i * element_bytes, fill, element_bytes);
    std::fill(packed.documents + place, packed.documents + until, 0);
    std::fill(packed.positions + place, packed.positions + until, 0);
    place = until;
  };
  int32_t number = 0;  // of the piece in its row
  for (size_t i = 0; i < pieces.count; ++i) {
    const auto length = static_cast<uint64_t>(pieces.lengths[i]), row = static_cast<uint64_t>(pieces.bins[i]);
    const auto first = static_cast<uint64_t>(pieces.offsets[i] + pieces.starts[i]);
    if (row >= packed.rows || first > elements || length > elements - first)
      fail(Cause::argument, "piece " + std::to_string(i) + " lies outside the rows or the documents given");
    if (row * packed.row_tokens >= place) {
      leave_empty(row * packed.row_tokens);
      number = 0;
    }
    if (length > (row + 1) * packed.row_tokens - place)
      fail(Cause::argument, "piece " + std::to_string(i) + " does not fit its row");
    std::memcpy(packed.values + place * element_bytes, values + first * element_bytes, length * element_bytes);
    std::fill_n(packed.documents + place, length, ++number);
    std::iota(packed.positions + place, packed.positions + place + length, static_cast<int32_t>(pieces.starts[i]));
    place += length;
  }
  leave_empty(packed.rows * packed.row_tokens);
}

}  // namespace fastload
