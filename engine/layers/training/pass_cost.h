// What a training pass computes: for estimates of its time, and to show what it leaves out.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_PASS_COST_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_PASS_COST_H_

#include <cstdint>

namespace whipsnake::engine {

struct PassCost {
  double product_flops = 0;     // of matrix products, two for each multiply-add
  double attention_flops = 0;   // the same within attention
  double scan_elements = 0;     // states times tokens of selective scans
  double bytes = 0;             // that all other operations read and write
  double weight_gradients = 0;  // products that computed the gradient of a weight

  static PassCost Product(int64_t m, int64_t n, int64_t k) {
    return {.product_flops =
                2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k)};
  }
  // Of an operation that reads and writes so many fp32 numbers.
  static PassCost Numbers(int64_t numbers) { return {.bytes = 4.0 * static_cast<double>(numbers)}; }

  // The mean over so many passes.
  PassCost Over(int64_t passes) const {
    const auto count = static_cast<double>(passes);
    return {.product_flops = product_flops / count,
            .attention_flops = attention_flops / count,
            .scan_elements = scan_elements / count,
            .bytes = bytes / count,
            .weight_gradients = weight_gradients / count};
  }
  PassCost& operator+=(const PassCost& other) {
    product_flops += other.product_flops;
    attention_flops += other.attention_flops;
    scan_elements += other.scan_elements;
    bytes += other.bytes;
    weight_gradients += other.weight_gradients;
    return *this;
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_PASS_COST_H_
