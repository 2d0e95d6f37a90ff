/* io/clock_os.h: the operating system's clocks, in microseconds. Read once a turn by the worker;
 * everybody else is told the time. */
#ifndef PN_IO_CLOCK_OS_H
#define PN_IO_CLOCK_OS_H

#include <stdint.h>

uint64_t clock_mono_us(void);
uint64_t clock_wall_us(void);

#endif
