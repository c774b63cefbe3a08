/* image.h: the library's own code and data in memory. */
#ifndef PLD_NUMA_IMAGE_H
#define PLD_NUMA_IMAGE_H

/* Touches every page of what was linked together with this, which is the library, or a
 * program that it is linked into. No first call of a function is a page fault then. */
void pld_image_touch(void);

#endif
