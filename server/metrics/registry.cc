#include "server/metrics/registry.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>

namespace whipsnake::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

// For counters, gauges and computed values of either type.
template <typename Instrument>
void Read(const Instrument& instrument, MetricType type, ClientMetric* metric) {
  const double value = static_cast<double>(instrument.value());
  if (type == MetricType::Counter) {
    metric->counter.value = value;
  } else {
    metric->gauge.value = value;
  }
}

void Read(const Histogram& histogram, MetricType, ClientMetric* metric) {
  const std::vector<uint64_t> counts = histogram.Counts();
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    const bool last = i == histogram.bounds().size();
    metric->histogram.bucket.push_back(
        {total, last ? std::numeric_limits<double>::infinity() : histogram.bounds()[i]});
  }
  metric->histogram.sample_count = total;
  metric->histogram.sample_sum = histogram.sum();
}

}  // namespace

template <typename Instrument>
prometheus::MetricFamily Family<Instrument>::Collect() const {
  prometheus::MetricFamily family{name_, help_, type_, {}};
  engine::MutexLock lock(mutex_);
  for (const auto& [values, instrument] : instruments_) {
    ClientMetric metric;
    for (size_t i = 0; i < labels_.size(); ++i) metric.label.push_back({labels_[i], values[i]});
    Read(*instrument, type_, &metric);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

template <typename Instrument>
void Family<Instrument>::Remove(std::string_view label, std::string_view value) {
  const size_t index = std::find(labels_.begin(), labels_.end(), label) - labels_.begin();
  if (index == labels_.size()) return;
  engine::MutexLock lock(mutex_);
  std::erase_if(instruments_, [&](const auto& entry) { return entry.first[index] == value; });
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;
template class Family<Computed>;

template <typename Instrument>
Family<Instrument>& MetricsRegistry::Add(std::unique_ptr<Family<Instrument>> family) {
  Family<Instrument>& result = *family;
  families_.push_back(std::move(family));
  return result;
}

Family<Counter>& MetricsRegistry::AddCounter(std::string name, std::string help,
                                             std::vector<std::string> labels) {
  return Add(std::make_unique<Family<Counter>>(std::move(name), std::move(help),
                                               MetricType::Counter, std::move(labels),
                                               [] { return std::make_unique<Counter>(); }));
}

Family<Gauge>& MetricsRegistry::AddGauge(std::string name, std::string help,
                                         std::vector<std::string> labels) {
  return Add(std::make_unique<Family<Gauge>>(std::move(name), std::move(help), MetricType::Gauge,
                                             std::move(labels),
                                             [] { return std::make_unique<Gauge>(); }));
}

Family<Histogram>& MetricsRegistry::AddHistogram(std::string name, std::string help,
                                                 std::vector<std::string> labels,
                                                 std::vector<double> bounds) {
  auto make = [bounds = std::move(bounds)] { return std::make_unique<Histogram>(bounds); };
  return Add(std::make_unique<Family<Histogram>>(
      std::move(name), std::move(help), MetricType::Histogram, std::move(labels), std::move(make)));
}

Family<Computed>& MetricsRegistry::AddComputed(std::string name, std::string help,
                                               std::vector<std::string> labels, MetricType type) {
  auto make = [] { return std::make_unique<Computed>([] { return 0.0; }); };
  return Add(std::make_unique<Family<Computed>>(std::move(name), std::move(help), type,
                                                std::move(labels), std::move(make)));
}

void MetricsRegistry::Remove(std::string_view label, std::string_view value) {
  for (const auto& family : families_) family->Remove(label, value);
}

std::vector<prometheus::MetricFamily> MetricsRegistry::Collect() const {
  std::vector<prometheus::MetricFamily> result;
  for (const auto& family : families_) result.push_back(family->Collect());
  return result;
}

std::string MetricsRegistry::Text() const {
  return prometheus::TextSerializer().Serialize(Collect());
}

}  // namespace whipsnake::server
