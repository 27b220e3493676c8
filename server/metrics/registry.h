// Families of instruments by label, and how a scrape reads them.
#ifndef WHIPSNAKE_SERVER_METRICS_REGISTRY_H_
#define WHIPSNAKE_SERVER_METRICS_REGISTRY_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/mutex.h"
#include "server/metrics/description.h"
#include "server/metrics/instruments.h"

namespace whipsnake::server {

using LabelValues = std::vector<std::string>;

// The common interface of all families.
class AnyFamily {
 public:
  // `group`: the heading under which the reference lists the family. `bounds`: of the buckets of a
  // histogram.
  AnyFamily(MetricDescription description, prometheus::MetricType type, std::vector<double> bounds,
            std::string group)
      : description_(std::move(description)),
        type_(type),
        bounds_(std::move(bounds)),
        group_(std::move(group)) {}
  virtual ~AnyFamily() = default;

  const MetricDescription& description() const { return description_; }
  prometheus::MetricType type() const { return type_; }
  const std::vector<double>& bounds() const { return bounds_; }
  const std::string& group() const { return group_; }

  virtual prometheus::MetricFamily Collect() const = 0;
  // Drops the series whose `label` has this value.
  virtual void Remove(std::string_view label, std::string_view value) = 0;

 private:
  const MetricDescription description_;
  const prometheus::MetricType type_;
  const std::vector<double> bounds_;
  const std::string group_;
};

// The metrics of one name: an instrument for each combination of label values. Thread-safe. The
// lock is taken to find, drop and scrape instruments, never to record.
template <typename Instrument>
class Family : public AnyFamily {
 public:
  using AnyFamily::AnyFamily;

  // Returns the instrument for these values, one per label; creates it on first use. Valid until it
  // is removed.
  Instrument& With(const LabelValues& values);

  // Adds an instrument, or replaces the existing one.
  void Put(const LabelValues& values, std::unique_ptr<Instrument> instrument) {
    engine::MutexLock lock(mutex_);
    instruments_[values] = std::move(instrument);
  }

  prometheus::MetricFamily Collect() const override;
  void Remove(std::string_view label, std::string_view value) override;

 private:
  mutable engine::Mutex mutex_;
  std::map<LabelValues, std::unique_ptr<Instrument>> instruments_ ABSL_GUARDED_BY(mutex_);
};

extern template class Family<Counter>;
extern template class Family<Gauge>;
extern template class Family<Histogram>;
extern template class Family<Computed>;

// Shows the value that `function` returns at each scrape. `function` must be quick, must not wait
// for the disk, and must be thread-safe.
template <typename Function>
void Show(Family<Computed>& family, const LabelValues& labels, Function function) {
  family.Put(labels, std::make_unique<Computed>([function = std::move(function)] {
               return static_cast<double>(function());
             }));
}

// All families of the process, in the order in which they were added. Thread-safe once all have
// been added.
class MetricsRegistry : public prometheus::Collectable {
 public:
  // The heading of the families that are added from here on.
  void BeginGroup(std::string title) { group_ = std::move(title); }

  // Counters and histograms whose labels have listed values only are there from the start, for all
  // combinations of these values, so that a rate also shows the first event.
  Family<Counter>& AddCounter(MetricDescription description);
  Family<Histogram>& AddHistogram(MetricDescription description, std::vector<double> bounds);
  Family<Gauge>& AddGauge(MetricDescription description);
  // Instruments are added with Put() or Show().
  Family<Computed>& AddComputedGauge(MetricDescription description);
  Family<Computed>& AddComputedCounter(MetricDescription description);

  std::span<const std::unique_ptr<AnyFamily>> families() const { return families_; }

  // Drops every series, in every family, whose `label` has this value. When this returns, no
  // dropped computed value is still being computed.
  void Remove(std::string_view label, std::string_view value);

  std::vector<prometheus::MetricFamily> Collect() const override { return CollectFrom(""); }
  // Returns the families whose names begin with `prefix`.
  std::vector<prometheus::MetricFamily> CollectFrom(std::string_view prefix) const;
  // Returns all metrics as MetricsText does.
  std::string Text() const;

 private:
  template <typename Instrument>
  Family<Instrument>& Add(MetricDescription description, prometheus::MetricType type,
                          std::vector<double> bounds = {});

  std::string group_;
  std::vector<std::unique_ptr<AnyFamily>> families_;
};

// Returns these metrics in Prometheus text format 0.0.4.
std::string MetricsText(const std::vector<prometheus::MetricFamily>& families);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_REGISTRY_H_
