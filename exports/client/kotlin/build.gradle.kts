import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    kotlin("jvm") version "2.4.20"
    `java-library`
}

group = "modelfactory"
version = "1.0.0"

repositories {
    mavenCentral()
}

dependencies {
    // The client needs nothing but the Kotlin standard library. The engine of the tests calls ONNX Runtime through JNA.
    testImplementation("net.java.dev.jna:jna:5.13.0")
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_1_8 // Android takes bytecode of Java 8 at every API level
        allWarningsAsErrors = true
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}
