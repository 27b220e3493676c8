#include "kernels/product/amx.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/isa.h"

// The target is set per function, as in quantized_matmul/vnni.cc.
#define WHIPSNAKE_AMX __attribute__((target("amx-tile,amx-bf16")))

namespace whipsnake::kernels::amx {
namespace {

constexpr int64_t kTileRowBytes = kTile * sizeof(uint32_t);

// The operand of ldtilecfg, palette 1.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// All eight tile registers have kTile rows of kTile words. A constant in memory, because the
// intrinsic does not tell GCC 12 that it reads the whole structure.
constexpr TileConfiguration kConfiguration = [] {
  TileConfiguration configuration;
  for (int tile = 0; tile < 8; ++tile) {
    configuration.row_bytes[tile] = kTileRowBytes;
    configuration.rows[tile] = kTile;
  }
  return configuration;
}();

WHIPSNAKE_AMX void Configure() { _tile_loadconfig(&kConfiguration); }
WHIPSNAKE_AMX void Release() { _tile_release(); }

// Tiles 0 to 3 hold the sums, 4 and 5 those of a, 6 and 7 those of b.
WHIPSNAKE_AMX void Multiply(const uint32_t* a, const uint32_t* b, int64_t tiles, const Ahead& ahead,
                            float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    ahead.Prefetch(tile);
    _tile_loadd(4, a, kTileRowBytes);
    _tile_loadd(6, b, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTileSize, kTileRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + kTileSize, kTileRowBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a += 2 * kTileSize;
    b += 2 * kTileSize;
  }
  constexpr int64_t kSumsRowBytes = kStrip * sizeof(float);
  _tile_stored(0, sums, kSumsRowBytes);
  _tile_stored(1, sums + kTile, kSumsRowBytes);
  _tile_stored(2, sums + kTile * kStrip, kSumsRowBytes);
  _tile_stored(3, sums + kTile * kStrip + kTile, kSumsRowBytes);
}

// The system saves the tile registers of a process only after it has asked for them.
bool RequestTiles() {
  constexpr int kArchReqXcompPerm = 0x1023;  // ARCH_REQ_XCOMP_PERM, asm/prctl.h since Linux 5.16
  constexpr int kTileData = 18;              // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

}  // namespace

const StripProduct* PairProduct() {
  constexpr double kNanosecondsPerWord = 0.004;
  static constexpr StripProduct kProduct{
      WordFormat::kPairs, TileOrder::kLineMajor, kNanosecondsPerWord, Multiply, Configure, Release};
  static const bool usable = ActiveIsa() >= Isa::kAmx && RequestTiles();
  return usable ? &kProduct : nullptr;
}

}  // namespace whipsnake::kernels::amx

#else

namespace whipsnake::kernels::amx {
const StripProduct* PairProduct() { return nullptr; }
}  // namespace whipsnake::kernels::amx

#endif
