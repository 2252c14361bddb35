/* A file system that takes no more writes, as the kernel makes of one that it has found damaged:
 * LD_PRELOAD this, with READ_ONLY naming a directory, and READ_ONLY_FLAG a file of one byte:
 * while it is not 0, what would change a file there fails with EROFS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static volatile char *flag;
static const char *place;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("READ_ONLY_FLAG");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *shared = file >= 0 ? mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    place = getenv("READ_ONLY");
    flag = shared == MAP_FAILED ? NULL : shared;
}

static int is_refused(void)
{
    if (!flag || !*flag)
        return 0;
    errno = EROFS;
    return 1;
}

static int is_refused_path(const char *path, int flags)
{
    return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && place
        && !strncmp(path, place, strlen(place)) && is_refused();
}

static int is_refused_file(int file)
{
    struct stat found;
    return flag && *flag && !fstat(file, &found) && S_ISREG(found.st_mode) && is_refused();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE(mode, flags) \
    if ((flags) & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }

int open(const char *path, int flags, ...)
{
    int mode = 0;
    MODE(mode, flags)
    return is_refused_path(path, flags) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    int mode = 0;
    MODE(mode, flags)
    return is_refused_path(path, flags) ? -1 : REAL(open64)(path, flags, mode);
}

ssize_t write(int file, const void *data, size_t size)
{
    return is_refused_file(file) ? -1 : REAL(write)(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t where)
{
    return is_refused_file(file) ? -1 : REAL(pwrite64)(file, data, size, where);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t where)
{
    return is_refused_file(file) ? -1 : REAL(pwrite)(file, data, size, where);
}

int ftruncate64(int file, off64_t size)
{
    return is_refused_file(file) ? -1 : REAL(ftruncate64)(file, size);
}

int ftruncate(int file, off_t size)
{
    return is_refused_file(file) ? -1 : REAL(ftruncate)(file, size);
}

int unlink(const char *path)
{
    return is_refused_path(path, O_WRONLY) ? -1 : REAL(unlink)(path);
}
