#include "engine/checkpoint/hub_cache.h"

#include <stdlib.h>

#include <filesystem>

#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;

TEST(HubCacheTest, NamesAndFoldersCorrespond) {
  EXPECT_EQ(HubFolder("Org/Name-7B"), "models--Org--Name-7B");
  EXPECT_EQ(HubFolder("gpt2"), "models--gpt2");
  for (const char* directory :
       {"/c/models--Org--Name-7B", "/c/models--Org--Name-7B/", "models--Org--Name-7B/snapshots/1f",
        "/c/models--Org--Name-7B/snapshots/1f/"}) {
    EXPECT_EQ(HubName(directory), "Org/Name-7B") << directory;
  }
  EXPECT_EQ(HubModelOf("/c/models--a--b/snapshots/1f"), "/c/models--a--b");
  for (const char* directory : {"", "/", "models/a", "/c/models--a--b/blobs/1", "snapshots/1",
                                "/c/x/snapshots/1", "/c/models--a--b/snapshots/1/more"}) {
    EXPECT_EQ(HubName(directory), "") << directory;
    EXPECT_EQ(HubModelOf(directory), "") << directory;
  }
}

TEST(HubCacheTest, TheSnapshotIsThatOfMainOrTheOnlyOne) {
  const TemporaryDirectory cache;
  const std::string model = cache / "models--org--name";
  EXPECT_EQ(*HubSnapshot(cache.path()), cache.path()) << "another directory";
  fs::create_directories(model);
  EXPECT_EQ(*HubSnapshot(model), model) << "a model that only looks like one of a cache";
  fs::create_directories(model + "/snapshots");
  fs::create_directories(model + "/refs");
  EXPECT_THAT(HubSnapshot(model), Fails(Code::kInvalidArgument, "0 snapshots seen"));
  fs::create_directories(model + "/snapshots/1f");
  EXPECT_EQ(*HubSnapshot(model + "/"), model + "/snapshots/1f");
  fs::create_directories(model + "/snapshots/2e");
  EXPECT_THAT(HubSnapshot(model), Fails(Code::kInvalidArgument, "2 snapshots seen"));
  for (const char* main : {"3d", "../..", "..", "", "1f/../2e"}) {
    WriteBytes(model + "/refs/main", main);
    EXPECT_THAT(HubSnapshot(model), Fails(Code::kInvalidArgument, "2 snapshots seen")) << main;
  }
  for (const char* main : {"2e", "2e\n"}) {
    WriteBytes(model + "/refs/main", main);
    EXPECT_EQ(*HubSnapshot(model), model + "/snapshots/2e");
  }
}

TEST(HubCacheTest, AnOperatorNamesADirectoryOrAModel) {
  const TemporaryDirectory first, second;
  const std::string snapshot = second / "models--Org--Name/snapshots/1f";
  fs::create_directories(snapshot);
  const std::string caches[] = {"", first.path(), second.path()};
  EXPECT_EQ(*FindModelDirectory("Org/Name", caches), snapshot);
  EXPECT_EQ(*FindModelDirectory(second / "models--Org--Name", caches), snapshot);
  EXPECT_EQ(*FindModelDirectory(first.path(), caches), first.path());
  EXPECT_EQ(*FindModelDirectory("Org/Other", caches), "Org/Other");
  EXPECT_EQ(*FindModelDirectory("../models--Org--Name", caches), "../models--Org--Name");
}

TEST(HubCacheTest, TheRootIsThatOfTheHubsPrograms) {
  for (const char* name : {"HF_HUB_CACHE", "HF_HOME", "HOME"}) unsetenv(name);
  EXPECT_EQ(HubCacheRoot(), "");
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(HubCacheRoot(), "/home/me/.cache/huggingface/hub");
  setenv("HF_HOME", "/data", 1);
  EXPECT_EQ(HubCacheRoot(), "/data/hub");
  setenv("HF_HUB_CACHE", "/cache", 1);
  EXPECT_EQ(HubCacheRoot(), "/cache");
}

}  // namespace
}  // namespace whipsnake::engine
