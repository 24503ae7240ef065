/*
 * libvirt and libnbd, loaded when the first source needs them: libvirt brings
 * fifty more libraries, and a fleet without guests should not pay for them, or
 * need them.
 *
 * What their headers declare is called as always; fb_libvirt_load() and
 * fb_nbd_load() come first.
 */
#ifndef DRIVER_LIBVIRT_LATE_H
#define DRIVER_LIBVIRT_LATE_H

#include <libnbd.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define FB_LIBVIRT_FUNCTIONS(X) \
	X(virInitialize) \
	X(virSetErrorFunc) \
	X(virGetLastError) \
	X(virResetLastError) \
	X(virConnectOpen) \
	X(virConnectClose) \
	X(virConnectRef) \
	X(virConnectIsAlive) \
	X(virConnectListAllDomains) \
	X(virDomainLookupByUUIDString) \
	X(virDomainFree) \
	X(virDomainGetName) \
	X(virDomainGetUUIDString) \
	X(virDomainGetXMLDesc) \
	X(virDomainGetState) \
	X(virDomainIsPersistent) \
	X(virDomainHasManagedSaveImage) \
	X(virDomainGetBlockInfo) \
	X(virStoragePoolLookupByName) \
	X(virStoragePoolLookupByVolume) \
	X(virStoragePoolGetName) \
	X(virStoragePoolFree) \
	X(virStorageVolLookupByName) \
	X(virStorageVolLookupByPath) \
	X(virStorageVolGetPath) \
	X(virStorageVolFree)

#define FB_LIBVIRT_MEMBER(name) __typeof__(name) *name;
struct fb_libvirt {
	FB_LIBVIRT_FUNCTIONS(FB_LIBVIRT_MEMBER)
};
extern struct fb_libvirt fb_libvirt;

/* NULL: it is there; else why it is not, in static memory.  Threads: any. */
const char *fb_libvirt_load(void);

#endif
