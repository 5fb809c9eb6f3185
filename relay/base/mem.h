#ifndef RELAY_BASE_MEM_H
#define RELAY_BASE_MEM_H

#include <stddef.h>

/*
 * The only place that calls malloc.  None of these returns NULL: a program out
 * of memory says so and ends, and the spool is made to survive that.
 */

/* Zeroed.  A size of 0 gives a pointer that may be freed and not be read. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));

/* Zeroed room for count things of size bytes; ends the program on overflow. */
void *mem_alloc_array(size_t count, size_t size)
    __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));

/* Zeroed and aligned, for files opened with O_DIRECT; alignment is a power of two. */
void *mem_alloc_aligned(size_t alignment, size_t size)
    __attribute__((malloc, returns_nonnull, alloc_size(2)));

/* Grow or shrink; new bytes are not zeroed.  ptr may be NULL. */
void *mem_resize_array(void *ptr, size_t count, size_t size)
    __attribute__((returns_nonnull, alloc_size(2, 3)));

void *mem_dup(const void *data, size_t size) __attribute__((malloc, returns_nonnull));
char *mem_dup_cstr(const char *text) __attribute__((malloc, returns_nonnull));

/* data need not end in a NUL; the copy does. */
char *mem_dup_text(const char *data, size_t len) __attribute__((malloc, returns_nonnull));

char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* Takes the address of a pointer, frees what it points to and leaves NULL behind. */
void mem_free(void *pointer_address);

/* Overwrite a secret in a way the compiler may not leave out. */
void mem_wipe(void *data, size_t size);

#endif
