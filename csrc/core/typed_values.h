// Bytes of a field's dtype as numbers of C++.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "layout.h"

namespace fastload {

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  float value;
  if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | fraction << 13;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline float bfloat_to_float(uint16_t brain) {
  const uint32_t bits = static_cast<uint32_t>(brain) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Calls visit(pointer to typed values) for the field's dtype; 16-bit floats are widened first.
template <class Visit>
void with_values(Dtype dtype, const uint8_t* values, uint64_t elements, Visit&& visit) {
  switch (dtype) {
    case Dtype::int8:
      return visit(reinterpret_cast<const int8_t*>(values));
    case Dtype::int16:
      return visit(reinterpret_cast<const int16_t*>(values));
    case Dtype::int32:
      return visit(reinterpret_cast<const int32_t*>(values));
    case Dtype::int64:
      return visit(reinterpret_cast<const int64_t*>(values));
    case Dtype::uint16:
      return visit(reinterpret_cast<const uint16_t*>(values));
    case Dtype::uint32:
      return visit(reinterpret_cast<const uint32_t*>(values));
    case Dtype::uint64:
      return visit(reinterpret_cast<const uint64_t*>(values));
    case Dtype::float32:
      return visit(reinterpret_cast<const float*>(values));
    case Dtype::float64:
      return visit(reinterpret_cast<const double*>(values));
    case Dtype::float16:
    case Dtype::bfloat16: {
      std::vector<float> wide(elements);
      const auto* narrow = reinterpret_cast<const uint16_t*>(values);
      for (uint64_t i = 0; i < elements; ++i)
        wide[i] = dtype == Dtype::float16 ? half_to_float(narrow[i]) : bfloat_to_float(narrow[i]);
      return visit(static_cast<const float*>(wide.data()));
    }
    default:
      return visit(values);  // bool, uint8
  }
}

}  // namespace fastload
