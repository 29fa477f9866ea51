#!/usr/bin/env node
/** The command line for Node: what an app does at launch, and the class of an image. The README of the clients defines it. */
export {};
