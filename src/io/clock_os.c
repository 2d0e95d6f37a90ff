/* clock_os: the only reader of clocks (log.c dates its lines by itself). Owns nothing. */
#include "io/clock_os.h"

#include <time.h>

static uint64_t
read_us(clockid_t id)
{
        struct timespec ts;

        clock_gettime(id, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_mono_us(void)
{
        return read_us(CLOCK_MONOTONIC);
}

uint64_t
clock_wall_us(void)
{
        return read_us(CLOCK_REALTIME);
}
