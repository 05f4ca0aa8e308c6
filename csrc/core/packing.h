// Sequence packing: documents of unequal length, put into rows of a fixed number of places, with few places left empty.
//
//   a pool, in base order    aaaaa bb cccccccccccc ddd e         documents, a letter for each token
//   cut to rows of 8         aaaaa bb cccccccc cccc ddd e        only what is longer than a row is cut: full rows and a
//   rest packed                   [aaaaaddd] [bbcccce ] [cccccccc]    one empty place
//
// The problem, and why a model loses nothing by it: Krell, Kosec, Perez, Fitzgibbon, "Efficient Sequence Packing
// without Cross-contamination" (2021). The method is best fit decreasing: the longest first, each into the fullest row
// that has room for it; at most 11/9 of the fewest rows possible, and 4 (Johnson, Demers, Ullman, Garey, Graham,
// "Worst-Case Performance Bounds for Simple One-Dimensional Packing Algorithms", SIAM J. Comput. 3, 1974).
//
// Pools of consecutive documents are packed each on its own, so that one can jump into an epoch by packing one pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace fastload {

// Items in stacks by a number below `keys`, and the next stack that is not empty, in O(log keys).
class Stacks {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit Stacks(uint32_t keys);
  void push(uint32_t key, uint32_t item);
  uint32_t pop(uint32_t key);             // the stack must not be empty
  uint32_t at_least(uint32_t key) const;  // the lowest key from `key` on that has items; kNone if there is none

 private:
  std::vector<uint32_t> tops_;   // by key; kNone if empty
  std::vector<uint32_t> below_;  // by item: what lies under it
  std::vector<std::vector<uint64_t>>
      marked_;  // a bit for each key that has items; above, one for each word that has bits
};

// Best fit decreasing. Keeps its memory from call to call: O(capacity + items).
class BestFit {
 public:
  explicit BestFit(uint32_t capacity);
  // bins[i] = the bin of item i, numbered from 0; returns how many there are. All lengths in 1 .. capacity.
  uint32_t pack(const std::vector<uint32_t>& lengths, std::vector<uint32_t>& bins);

 private:
  uint32_t capacity_;
  Stacks items_;  // by what they leave of an empty bin: the longest first
  Stacks bins_;   // by the room left
};

struct PackingOptions {
  uint32_t row_tokens = 0;      // at least 1
  uint64_t pool_documents = 0;  // at least 1; the last pool may hold fewer
  std::optional<uint64_t> key;  // the base order is Permutation(documents, key); without a key, the order of the file
};

// Row r holds the pieces first_piece[r] .. first_piece[r + 1], in base order; rows are in the order of their first
// pieces.
struct PackedPool {
  std::vector<int64_t> documents;    // by piece
  std::vector<int64_t> starts;       // its first token in the document
  std::vector<int64_t> lengths;      // tokens
  std::vector<int64_t> first_piece;  // by row, and the end
};

// lengths : tokens of each document, not negative; those of none take no place.
// Throws if a pool is cut into 2^32 pieces or more.
std::vector<int64_t> count_packed_rows(const int64_t* lengths, size_t documents,
                                       const PackingOptions& options);  // by pool
PackedPool pack_pool(const int64_t* lengths, size_t documents, const PackingOptions& options, uint64_t pool);

// Pieces to be placed in rows: piece i is lengths[i] elements of the document that begins at element offsets[i], from
// its element starts[i] on, and stands in row bins[i], which rise.
struct PlacedPieces {
  const int64_t* offsets;
  const int64_t* starts;
  const int64_t* lengths;
  const int64_t* bins;
  size_t count;
};

// Where they go: [rows, row_tokens] each. documents counts the pieces of a row from 1 on, and is 0 in empty places;
// positions are places in the document.
struct PackedRows {
  uint64_t rows, row_tokens;
  uint8_t* values;
  int32_t* documents;
  int32_t* positions;
};

// values : `elements` elements of `element_bytes`. fill : an element for the places that stay empty.
void place_pieces(const uint8_t* values, uint64_t elements, size_t element_bytes, const uint8_t* fill,
                  const PlacedPieces& pieces, const PackedRows& packed);

}  // namespace fastload
