#ifndef RELAY_BASE_CONTAINER_OF_H
#define RELAY_BASE_CONTAINER_OF_H

#include <stddef.h>

/*
 * The struct of the given type whose member the pointer points to.  For
 * intrusive lists, heaps and interfaces.
 */
#define container_of(pointer, type, member)                                     \
	((type *)(void *)((char *)(1 ? (pointer) : &((type *)0)->member) -      \
	    offsetof(type, member)))

#endif
