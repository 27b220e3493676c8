// The order in which an epoch visits the rows of a data set.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_EPOCH_ORDER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_EPOCH_ORDER_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "engine/models/distribution.h"

namespace whipsnake::engine {

// Permutes `items` by the Fisher-Yates algorithm. The permutation is a function of `random`, which
// must not be used for anything else, and of the number of items.
void Shuffle(const Randomness& random, std::span<int64_t> items);

// The random numbers of one epoch of a run, and of one purpose in it.
Randomness EpochRandomness(uint64_t seed, int64_t epoch, std::string_view purpose);

// Sorts the items within each pool of `pool_size` by length; the last pool may be smaller. Items of
// equal length stay in order. So neighbours are about equally long.
void SortPools(int64_t pool_size, const std::function<int64_t(int64_t item)>& length,
               std::span<int64_t> items);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_EPOCH_ORDER_H_
