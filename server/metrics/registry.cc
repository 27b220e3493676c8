#include "server/metrics/registry.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

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

// A histogram has the bounds of its family.
template <typename Instrument>
std::unique_ptr<Instrument> Make(const std::vector<double>& bounds) {
  if constexpr (std::is_same_v<Instrument, Histogram>) {
    return std::make_unique<Histogram>(bounds);
  } else if constexpr (std::is_same_v<Instrument, Computed>) {
    return std::make_unique<Computed>([] { return 0.0; });
  } else {
    return std::make_unique<Instrument>();
  }
}

// Returns all combinations of the labels' listed values: one without labels, none if the values of
// a label are not listed.
std::vector<LabelValues> ListedValues(const std::vector<LabelDescription>& labels) {
  std::vector<LabelValues> combinations = {{}};
  for (const LabelDescription& label : labels) {
    std::vector<LabelValues> longer;
    for (const LabelValues& values : combinations) {
      for (const std::string& value : label.values) {
        longer.push_back(values);
        longer.back().push_back(value);
      }
    }
    combinations = std::move(longer);
  }
  return combinations;
}

}  // namespace

template <typename Instrument>
Instrument& Family<Instrument>::With(const LabelValues& values) {
  engine::MutexLock lock(mutex_);
  auto& instrument = instruments_[values];
  if (instrument == nullptr) instrument = Make<Instrument>(bounds());
  return *instrument;
}

template <typename Instrument>
prometheus::MetricFamily Family<Instrument>::Collect() const {
  prometheus::MetricFamily family{description().name, description().help, type(), {}};
  const std::vector<LabelDescription>& labels = description().labels;
  engine::MutexLock lock(mutex_);
  family.metric.reserve(instruments_.size());
  for (const auto& [values, instrument] : instruments_) {
    ClientMetric& metric = family.metric.emplace_back();
    for (size_t i = 0; i < labels.size(); ++i) metric.label.push_back({labels[i].name, values[i]});
    Read(*instrument, type(), &metric);
  }
  return family;
}

template <typename Instrument>
void Family<Instrument>::Remove(std::string_view label, std::string_view value) {
  const std::vector<LabelDescription>& labels = description().labels;
  const size_t index = std::ranges::find(labels, label, &LabelDescription::name) - labels.begin();
  if (index == labels.size()) return;
  engine::MutexLock lock(mutex_);
  std::erase_if(instruments_, [&](const auto& entry) { return entry.first[index] == value; });
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;
template class Family<Computed>;

template <typename Instrument>
Family<Instrument>& MetricsRegistry::Add(MetricDescription description, MetricType type,
                                         std::vector<double> bounds) {
  auto family =
      std::make_unique<Family<Instrument>>(std::move(description), type, std::move(bounds), group_);
  Family<Instrument>& result = *family;
  families_.push_back(std::move(family));
  return result;
}

Family<Counter>& MetricsRegistry::AddCounter(MetricDescription description) {
  Family<Counter>& family = Add<Counter>(std::move(description), MetricType::Counter);
  for (const LabelValues& values : ListedValues(family.description().labels)) family.With(values);
  return family;
}

Family<Histogram>& MetricsRegistry::AddHistogram(MetricDescription description,
                                                 std::vector<double> bounds) {
  Family<Histogram>& family =
      Add<Histogram>(std::move(description), MetricType::Histogram, std::move(bounds));
  for (const LabelValues& values : ListedValues(family.description().labels)) family.With(values);
  return family;
}

Family<Gauge>& MetricsRegistry::AddGauge(MetricDescription description) {
  return Add<Gauge>(std::move(description), MetricType::Gauge);
}

Family<Computed>& MetricsRegistry::AddComputedGauge(MetricDescription description) {
  return Add<Computed>(std::move(description), MetricType::Gauge);
}

Family<Computed>& MetricsRegistry::AddComputedCounter(MetricDescription description) {
  return Add<Computed>(std::move(description), MetricType::Counter);
}

void MetricsRegistry::Remove(std::string_view label, std::string_view value) {
  for (const auto& family : families_) family->Remove(label, value);
}

std::vector<prometheus::MetricFamily> MetricsRegistry::CollectFrom(std::string_view prefix) const {
  std::vector<prometheus::MetricFamily> result;
  for (const auto& family : families_) {
    if (family->description().name.starts_with(prefix)) result.push_back(family->Collect());
  }
  return result;
}

std::string MetricsRegistry::Text() const { return MetricsText(Collect()); }

std::string MetricsText(const std::vector<prometheus::MetricFamily>& families) {
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace whipsnake::server
