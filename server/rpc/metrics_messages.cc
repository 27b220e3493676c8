#include "server/rpc/metrics_messages.h"

namespace whipsnake::server {
namespace {

v1::MetricType ToProto(prometheus::MetricType type) {
  switch (type) {
    case prometheus::MetricType::Counter:
      return v1::METRIC_TYPE_COUNTER;
    case prometheus::MetricType::Histogram:
      return v1::METRIC_TYPE_HISTOGRAM;
    default:
      return v1::METRIC_TYPE_GAUGE;
  }
}

void Fill(const prometheus::ClientMetric::Histogram& histogram, v1::MetricHistogram* proto) {
  proto->set_sample_count(histogram.sample_count);
  proto->set_sample_sum(histogram.sample_sum);
  for (const auto& bucket : histogram.bucket) {
    v1::MetricBucket* added = proto->add_bucket();
    added->set_cumulative_count(bucket.cumulative_count);
    added->set_upper_bound(bucket.upper_bound);
  }
}

void Fill(const prometheus::ClientMetric& metric, prometheus::MetricType type, v1::Metric* proto) {
  for (const auto& label : metric.label) {
    v1::MetricLabel* added = proto->add_label();
    added->set_name(label.name);
    added->set_value(label.value);
  }
  switch (type) {
    case prometheus::MetricType::Counter:
      proto->mutable_counter()->set_value(metric.counter.value);
      break;
    case prometheus::MetricType::Histogram:
      Fill(metric.histogram, proto->mutable_histogram());
      break;
    default:
      proto->mutable_gauge()->set_value(metric.gauge.value);
  }
}

}  // namespace

v1::MetricFamily ToProto(const prometheus::MetricFamily& family) {
  v1::MetricFamily proto;
  proto.set_name(family.name);
  proto.set_help(family.help);
  proto.set_type(ToProto(family.type));
  for (const auto& metric : family.metric) Fill(metric, family.type, proto.add_metric());
  return proto;
}

}  // namespace whipsnake::server
