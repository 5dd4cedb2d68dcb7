#include "runtime/cuda_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC_BYTES = 8, LEFT_SECONDS = 3600 /* after which a file that has no name yet is taken for left behind */ };

static const char magic[MAGIC_BYTES] = "moec-k1";
static const char suffix[] = ".bin", unfinished_suffix[] = ".tmp";

/* The end of a file, behind the bytes, so that tools for cubins read it as one. */
typedef struct {
    char magic[MAGIC_BYTES];
    uint64_t n_bytes;                   /* of what stands before */
    unsigned char digest[SHA256_BYTES]; /* of the key and them */
} Trailer;

/* ---- Names ------------------------------------------------------------------------------------------------------- */

char *cuda_cache_folder(void) {
    static const char *const places[][2] = {
        {"MOEC_CACHE_DIR", "kernels"}, {"XDG_CACHE_HOME", "moec/kernels"}, {"HOME", ".cache/moec/kernels"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *root = getenv(places[i][0]);
        char *folder;
        if (root && *root)
            return asprintf(&folder, "%s/%s", root, places[i][1]) < 0 ? NULL : folder;
    }
    return NULL;
}

bool cuda_cache_open(CudaCache *cache, Disk *disk, const char *folder, uint64_t max_bytes, Status *status) {
    *cache = (CudaCache){.disk = disk, .folder = strdup(folder), .max_bytes = max_bytes};
    return cache->folder || status_fail_errno(status, "cache %s", folder);
}

void cuda_cache_close(CudaCache *cache) {
    free(cache->folder);
    *cache = (CudaCache){0};
}

CudaCacheKey cuda_cache_key(const char *const *parts, size_t n) {
    CudaCacheKey key;
    unsigned char digest[SHA256_BYTES];
    Sha256 sum = sha256_begin();
    for (size_t i = 0; i < n; i++) {
        uint64_t length = strlen(parts[i]);
        sha256_add(&sum, &length, sizeof length);
        sha256_add(&sum, parts[i], length);
    }
    sha256_end(&sum, digest);
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(key.text + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
    return key;
}

static Trailer trailer_of(const CudaCacheKey *key, const void *bytes, size_t n) {
    Trailer trailer = {.n_bytes = n};
    memcpy(trailer.magic, magic, MAGIC_BYTES);
    Sha256 sum = sha256_begin();
    sha256_add(&sum, key, sizeof *key);
    sha256_add(&sum, bytes, n);
    sha256_end(&sum, trailer.digest);
    return trailer;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

/* All of a file in memory; NULL where it cannot be read. */
static char *read_file(int fd, size_t *n) {
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return NULL;
    *n = (size_t)about.st_size;
    char *bytes = malloc(*n + 1);
    for (size_t done = 0; bytes && done < *n;) {
        ssize_t got = read(fd, bytes + done, *n - done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            free(bytes);
            bytes = NULL;
        }
    }
    return bytes;
}

static bool is_whole(const CudaCacheKey *key, const char *bytes, size_t n_file) {
    Trailer found;
    if (n_file < sizeof found)
        return false;
    size_t n = n_file - sizeof found;
    memcpy(&found, bytes + n, sizeof found);
    Trailer expected = trailer_of(key, bytes, n);
    return memcmp(found.magic, expected.magic, MAGIC_BYTES) == 0 && found.n_bytes == expected.n_bytes &&
           memcmp(found.digest, expected.digest, SHA256_BYTES) == 0;
}

bool cuda_cache_find(const CudaCache *cache, const CudaCacheKey *key, void **bytes, size_t *n) {
    char *path, *content = NULL;
    size_t n_file = 0;
    if (asprintf(&path, "%s/%s%s", cache->folder, key->text, suffix) < 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    free(path);
    if (fd < 0)
        return false;
    content = read_file(fd, &n_file);
    bool is_found = content && is_whole(key, content, n_file);
    if (is_found)
        futimens(fd, NULL); /* it was used now; where that can't be noted, it goes sooner */
    close(fd);
    if (!is_found) {
        free(content);
        return false;
    }
    *bytes = content;
    *n = n_file - sizeof(Trailer);
    return true;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static bool make_folder(const CudaCache *cache, Status *status) {
    char *prefix = strdup(cache->folder);
    if (!prefix)
        return status_fail_errno(status, "cache %s", cache->folder);
    for (char *slash = strchr(prefix + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (cache->disk->mkdir(cache->disk, prefix, 0700) != 0 && errno != EEXIST)
            status_fail_errno(status, "%s: cannot create the directory", prefix);
        if (!slash || status->failed)
            break;
        *slash = '/';
    }
    free(prefix);
    return !status->failed;
}

static bool write_all(Disk *disk, int fd, const char *path, const void *bytes, size_t n, Status *status) {
    const char *next = bytes;
    while (n > 0) {
        ssize_t written = disk->write(disk, fd, next, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return status_fail_errno(status, "%s: cannot write", path);
        next += written;
        n -= (size_t)written;
    }
    return true;
}

/* Not synced: what a crash tears is known by its sum. */
static bool write_file(Disk *disk, const char *path, const CudaCacheKey *key, const void *bytes, size_t n,
                       Status *status) {
    Trailer trailer = trailer_of(key, bytes, n);
    int fd = disk->open(disk, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return status_fail_errno(status, "%s: cannot create", path);
    if (write_all(disk, fd, path, bytes, n, status))
        write_all(disk, fd, path, &trailer, sizeof trailer, status);
    if (disk->close(disk, fd) != 0)
        status_fail_errno(status, "%s: cannot close", path);
    return !status->failed;
}

bool cuda_cache_store(const CudaCache *cache, const CudaCacheKey *key, const void *bytes, size_t n, Status *status) {
    char *path = NULL, *temporary = NULL;
    uint64_t number = 0;
    if (!make_folder(cache, status))
        return false;
    /* Ranks and threads that make the same file each write one of their own. */
    if (getrandom(&number, sizeof number, 0) != sizeof number ||
        asprintf(&path, "%s/%s%s", cache->folder, key->text, suffix) < 0 ||
        asprintf(&temporary, "%s/%s.%016" PRIx64 "%s", cache->folder, key->text, number, unfinished_suffix) < 0)
        status_fail_errno(status, "cache %s", cache->folder);
    else if (!write_file(cache->disk, temporary, key, bytes, n, status))
        cache->disk->unlink(cache->disk, temporary);
    else if (cache->disk->rename(cache->disk, temporary, path) != 0) {
        status_fail_errno(status, "%s: cannot rename to %s", temporary, path);
        cache->disk->unlink(cache->disk, temporary);
    }
    free(path);
    free(temporary);
    return !status->failed;
}

/* ---- Trimming ---------------------------------------------------------------------------------------------------- */

typedef struct {
    char name[128];
    uint64_t n_bytes;
    struct timespec used;
} CacheFile;

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

static int compare_used(const void *left, const void *right) {
    const CacheFile *a = left, *b = right;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    if (a->used.tv_nsec != b->used.tv_nsec)
        return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void remove_file(const CudaCache *cache, const char *name) {
    char *path;
    if (asprintf(&path, "%s/%s", cache->folder, name) < 0)
        return;
    cache->disk->unlink(cache->disk, path);
    free(path);
}

/* The finished files, the longest unused first; removes what was left unfinished. NULL when out of memory. */
static CacheFile *list_files(const CudaCache *cache, DIR *entries, size_t *n) {
    CacheFile *files = NULL;
    const struct dirent *entry;
    struct stat about;
    *n = 0;
    while ((entry = readdir(entries))) {
        if (strlen(entry->d_name) >= sizeof files->name || fstatat(dirfd(entries), entry->d_name, &about, 0) != 0)
            continue;
        if (ends_in(entry->d_name, unfinished_suffix) && about.st_mtim.tv_sec + LEFT_SECONDS < time(NULL))
            remove_file(cache, entry->d_name);
        if (!ends_in(entry->d_name, suffix))
            continue;
        CacheFile *longer = realloc(files, (*n + 1) * sizeof *files);
        if (!longer)
            break;
        files = longer;
        files[*n] = (CacheFile){.n_bytes = (uint64_t)about.st_size, .used = about.st_mtim};
        snprintf(files[(*n)++].name, sizeof files->name, "%s", entry->d_name);
    }
    if (files)
        qsort(files, *n, sizeof *files, compare_used);
    return files;
}

void cuda_cache_trim(const CudaCache *cache) {
    DIR *entries = opendir(cache->folder);
    if (!entries)
        return;
    size_t n;
    uint64_t n_bytes = 0;
    CacheFile *files = list_files(cache, entries, &n);
    for (size_t i = 0; i < n; i++)
        n_bytes += files[i].n_bytes;
    for (size_t i = 0; i < n && n_bytes > cache->max_bytes; i++) {
        remove_file(cache, files[i].name);
        n_bytes -= files[i].n_bytes;
    }
    free(files);
    closedir(entries);
}
