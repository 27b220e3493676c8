// The context in which a kernel test runs.
#ifndef WHIPSNAKE_TESTS_KERNELS_TEST_CONTEXT_H_
#define WHIPSNAKE_TESTS_KERNELS_TEST_CONTEXT_H_

#include "kernels/context.h"

namespace whipsnake::kernels {

// The device is that of --device. On the CPU it has a team of two threads. Defined by the main
// function of the kernel tests.
const Context& TestContext();

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_TESTS_KERNELS_TEST_CONTEXT_H_
