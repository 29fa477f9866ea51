rootProject.name = "model-factory-client"
