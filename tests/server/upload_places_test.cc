#include "server/rpc/upload_places.h"

#include <gmock/gmock.h>

#include <array>

namespace whipsnake::server {
namespace {

using std::chrono::seconds;

struct Holder : PlaceHolder {
  void GiveWay() override { ++displaced; }
  int displaced = 0;
};

TEST(UploadPlacesTest, ANewUploadTakesThePlaceOfTheLongestSilentOne) {
  WallTime now{seconds(1000)};
  UploadPlaces places({.limit = 3, .patience = seconds(5), .now = [&] { return now; }});
  std::array<std::shared_ptr<Holder>, 3> holders;
  for (auto& holder : holders) {
    holder = std::make_shared<Holder>();
    EXPECT_TRUE(places.Take(holder));
  }
  const auto newcomer = std::make_shared<Holder>();
  now += seconds(60);
  EXPECT_FALSE(places.Take(newcomer)) << "all of them work";
  places.SetSilent(holders[2].get(), true);
  now += seconds(1);
  places.SetSilent(holders[0].get(), true);
  places.SetSilent(holders[1].get(), true);
  now += seconds(4);
  EXPECT_FALSE(places.Take(newcomer)) << "silent for five seconds, not longer";
  places.SetSilent(holders[2].get(), false);
  places.SetSilent(holders[2].get(), true);  // it has sent something
  now += seconds(2);
  places.SetSilent(holders[0].get(), false);
  EXPECT_TRUE(places.Take(newcomer));
  EXPECT_EQ(holders[1]->displaced, 1);
  EXPECT_EQ(holders[0]->displaced + holders[2]->displaced, 0);

  // What has given way has no place to free, or to be silent at.
  places.SetSilent(holders[1].get(), true);
  places.Free(holders[1].get());
  now += seconds(60);
  places.SetSilent(holders[2].get(), false);
  EXPECT_FALSE(places.Take(holders[1]));
  places.Free(holders[0].get());
  EXPECT_TRUE(places.Take(holders[1]));
}

}  // namespace
}  // namespace whipsnake::server
