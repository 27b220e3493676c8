// Families of instruments by label, and how a scrape reads them.
#ifndef WHIPSNAKE_SERVER_METRICS_REGISTRY_H_
#define WHIPSNAKE_SERVER_METRICS_REGISTRY_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/mutex.h"
#include "server/metrics/instruments.h"

namespace whipsnake::server {

using LabelValues = std::vector<std::string>;

// The common interface of all families.
class AnyFamily {
 public:
  virtual ~AnyFamily() = default;
  virtual prometheus::MetricFamily Collect() const = 0;
  // Drops the series whose `label` has this value.
  virtual void Remove(std::string_view label, std::string_view value) = 0;
};

// The metrics of one name: an instrument for each combination of label values. Thread-safe. The
// lock is taken to find, drop and scrape instruments, never to record.
template <typename Instrument>
class Family : public AnyFamily {
 public:
  using Make = std::function<std::unique_ptr<Instrument>()>;

  Family(std::string name, std::string help, prometheus::MetricType type,
         std::vector<std::string> labels, Make make)
      : name_(std::move(name)),
        help_(std::move(help)),
        type_(type),
        labels_(std::move(labels)),
        make_(std::move(make)) {}

  // Returns the instrument for these values, one per label; creates it on first use. Valid until it
  // is removed.
  Instrument& With(const LabelValues& values) {
    engine::MutexLock lock(mutex_);
    auto& instrument = instruments_[values];
    if (instrument == nullptr) instrument = make_();
    return *instrument;
  }

  // Adds an instrument, or replaces the existing one.
  void Put(const LabelValues& values, std::unique_ptr<Instrument> instrument) {
    engine::MutexLock lock(mutex_);
    instruments_[values] = std::move(instrument);
  }

  prometheus::MetricFamily Collect() const override;
  void Remove(std::string_view label, std::string_view value) override;

 private:
  const std::string name_;
  const std::string help_;
  const prometheus::MetricType type_;
  const std::vector<std::string> labels_;
  const Make make_;
  mutable engine::Mutex mutex_;
  std::map<LabelValues, std::unique_ptr<Instrument>> instruments_ ABSL_GUARDED_BY(mutex_);
};

extern template class Family<Counter>;
extern template class Family<Gauge>;
extern template class Family<Histogram>;
extern template class Family<Computed>;

// All families of the process, in the order in which they were added. Thread-safe once all have
// been added.
class MetricsRegistry : public prometheus::Collectable {
 public:
  Family<Counter>& AddCounter(std::string name, std::string help, std::vector<std::string> labels);
  Family<Gauge>& AddGauge(std::string name, std::string help, std::vector<std::string> labels);
  Family<Histogram>& AddHistogram(std::string name, std::string help,
                                  std::vector<std::string> labels, std::vector<double> bounds);
  // Instruments are added with Put(). `type` is gauge or counter.
  Family<Computed>& AddComputed(std::string name, std::string help, std::vector<std::string> labels,
                                prometheus::MetricType type = prometheus::MetricType::Gauge);

  // Drops every series, in every family, whose `label` has this value. When this returns, no
  // dropped computed value is still being computed.
  void Remove(std::string_view label, std::string_view value);

  std::vector<prometheus::MetricFamily> Collect() const override;
  // Returns all metrics in Prometheus text format 0.0.4.
  std::string Text() const;

 private:
  template <typename Instrument>
  Family<Instrument>& Add(std::unique_ptr<Family<Instrument>> family);

  std::vector<std::unique_ptr<AnyFamily>> families_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_REGISTRY_H_
