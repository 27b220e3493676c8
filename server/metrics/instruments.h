// Counters, gauges and histograms built on atomics, so that recording never waits for a scrape.
#ifndef WHIPSNAKE_SERVER_METRICS_INSTRUMENTS_H_
#define WHIPSNAKE_SERVER_METRICS_INSTRUMENTS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace whipsnake::server {

// Never decreases. Lock-free.
class Counter {
 public:
  void Add(int64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Can increase and decrease. Lock-free.
class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// A value that is computed when it is read. The function must be quick, must not wait for the disk,
// and must be thread-safe.
class Computed {
 public:
  explicit Computed(std::function<double()> function) : function_(std::move(function)) {}
  double value() const { return function_(); }

 private:
  const std::function<double()> function_;
};

// Counts observations by bucket. Lock-free.
class Histogram {
 public:
  // `bounds` must be increasing. A last bucket, up to infinity, is added.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  // Counts a value in the first bucket whose bound is not below it.
  void Observe(double value) {
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
    counts_[bound - bounds_.begin()].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }

  std::span<const double> bounds() const { return bounds_; }
  // One count per bucket, not cumulative. The total is their sum, so that a scrape during an
  // Observe still sees buckets and count agree.
  std::vector<uint64_t> Counts() const {
    std::vector<uint64_t> counts;
    for (const auto& count : counts_) counts.push_back(count.load(std::memory_order_relaxed));
    return counts;
  }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_INSTRUMENTS_H_
