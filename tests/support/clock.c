/* A wall clock that a test can set, for one process: LD_PRELOAD this, with FAKE_CLOCK naming a
 * file of eight bytes, the offset in seconds. Waits until a time of the wall clock (what Python
 * before 3.11 makes of every lock with a time-out) follow it as the kernel's would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *shared;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAKE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    if (file >= 0)
        shared = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
}

static int64_t offset(void)
{
    return shared && shared != MAP_FAILED ? *shared : 0;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (!real_gettime)
        real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_gettime(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

static int is_past(const struct timespec *until)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > until->tv_sec
        || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    /* In slices, since the clock may be set while we wait. */
    for (;;) {
        struct timespec slice;
        real_gettime(CLOCK_REALTIME, &slice);
        slice.tv_nsec += 10 * 1000 * 1000;
        if (slice.tv_nsec >= 1000000000) {
            slice.tv_sec += 1;
            slice.tv_nsec -= 1000000000;
        }
        if (!real_sem_timedwait(semaphore, &slice))
            return 0;
        if (errno != ETIMEDOUT)
            return -1;
        if (is_past(until)) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}
