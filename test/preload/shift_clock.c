/*
 * Gives a process a wall clock of its own: preloaded (ld.so(8), LD_PRELOAD), it adds the number of
 * seconds in the file named by CLOCK_SHIFT, an int64_t, to what time(), gettimeofday() and
 * clock_gettime() say of the wall clock. The file may be changed at any time. The monotonic clock is
 * left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none = 0;
static const volatile int64_t *shift = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("CLOCK_SHIFT");
    void *mapped;
    int file;

    *(void **) &real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (name == NULL) {
        return;
    }
    file = open(name, O_RDONLY | O_CLOEXEC);
    mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (file == -1 || mapped == MAP_FAILED) {
        abort();
    }
    close(file);
    shift = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result;

    if (real_clock_gettime == NULL) {
        begin();
    }
    result = real_clock_gettime(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += *shift;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) {
        return -1;
    }
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;

    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) {
        return -1;
    }
    if (now != NULL) {
        *now = precise.tv_sec;
    }
    return precise.tv_sec;
}
