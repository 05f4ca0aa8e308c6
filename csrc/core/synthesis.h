// Rows that no file holds: SMOTE (Chawla et al., JAIR 16, 2002) while batches are filled. Each is made of a row of a
// class, its base, and one of the base's nearest neighbours, drawn by the row's key: the same for any number of threads
// and ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "interpolate.h"
#include "source.h"

namespace fastload {

// What a row is made of: rows of the resident columns, and how far it lies from the one to the other.
struct Parents {
  int64_t base = 0, neighbor = 0;
  double part = 0;  // in [0, 1)
};

class Synthesis {
 public:
  // `rows` of them, made of the bases first_base .. first_base + bases.
  struct Class {
    uint64_t rows, first_base, bases;
  };
  // A field whose values lie between those of the parents; other fields are the base's.
  struct Field {
    uint32_t field;  // of the source
    InterpolateFunction function;
  };

  // first_row : the number of the first row that is made. neighbors : [bases of all classes, k], places among them,
  // kept alive by the caller; k = 0: rows are their bases over again. Throws where one is no such place.
  Synthesis(uint64_t first_row, std::vector<Class> classes, const int32_t* neighbors, uint32_t k,
            std::vector<Field> fields);

  uint64_t rows() const { return ends_.empty() ? 0 : ends_.back(); }
  const std::vector<Field>& fields() const { return fields_; }
  bool makes(uint64_t row) const { return row >= first_row_; }
  // Rows are made class after class. key : see row_key().
  Parents parents(uint64_t row, uint64_t key) const;

 private:
  uint64_t first_row_;
  std::vector<Class> classes_;
  std::vector<uint64_t> ends_;
  const int32_t* neighbors_;
  uint32_t k_;
  std::vector<Field> fields_;
};

// The rows of another source, and after them those that are made. These lie in blocks, too, so that an order mixes them
// with the others; what such a block holds is the resident rows, all of them.
class SynthesizingSource : public Source {
 public:
  // resident : the fields of `real`, of the bases alone; kept alive by the caller, as what `synthesis` points to.
  SynthesizingSource(std::shared_ptr<const Source> real, std::vector<MemorySource::Column> resident,
                     Synthesis synthesis);

  uint64_t raw_bytes(uint32_t block) const override { return is_real(block) ? real_->raw_bytes(block) : 0; }
  uint64_t decoded_bytes(uint32_t block) const override { return is_real(block) ? real_->decoded_bytes(block) : 0; }
  uint64_t stored_bytes(uint32_t block) const override { return is_real(block) ? real_->stored_bytes(block) : 0; }
  void will_need(uint32_t block) const override {
    if (is_real(block)) real_->will_need(block);
  }
  void load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const override;
  void check_whole() const override { real_->check_whole(); }
  const Synthesis* synthesis() const override { return &synthesis_; }

 private:
  bool is_real(uint32_t block) const { return block < real_blocks_; }

  const std::shared_ptr<const Source> real_;
  const uint32_t real_blocks_;
  const std::vector<MemorySource::Column> resident_;
  const Synthesis synthesis_;
};

}  // namespace fastload
